"""A durable PostgreSQL of our own, and databases on it that all begin alike."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Generator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import psutil
import psycopg
from psycopg import sql

from generation_worker.db import migrations
from generation_worker.db.embedded import EmbeddedPostgres

USERS = 100

FILL = """
INSERT INTO generation_job (kind, user_id, provider, payload, cost)
SELECT 'text_to_image', 'user-' || n %% %(users)s, 'local', '{"prompt": "a red kite over the sea"}', %(cost)s
  FROM generate_series(1, %(jobs)s) n
"""
GRANT = "SELECT count(*) FROM generate_series(0, %(users)s - 1) n, grant_credits('user-' || n, %(credits)s)"
SHOWN = ("server_version", "fsync", "synchronous_commit", "full_page_writes", "shared_buffers", "max_wal_size")


class Server:
    """Databases are cloned from others that were filled, vacuumed and analyzed: every drain begins alike."""

    def __init__(self, postgres: EmbeddedPostgres) -> None:
        self._postgres = postgres
        self._numbers = count()
        self._filled: dict[str, str] = {}
        self._control = psycopg.connect(postgres.conninfo(), autocommit=True)
        self._migrated = self._create("template0")
        migrations.upgrade(self.address(self._migrated))

    def address(self, database: str) -> str:
        return self._postgres.conninfo(database)

    def ask(self, query: str, *values: Any) -> list[tuple[Any, ...]]:
        """A question about the server as a whole; it is no transaction of a measured database."""
        return self._control.execute(query.encode(), values or None).fetchall()

    def set(self, name: str, value: str) -> None:
        """Change a setting of the running server."""
        self._control.execute(sql.SQL("ALTER SYSTEM SET {} = {}").format(sql.Identifier(name), sql.Literal(value)))
        self._control.execute("SELECT pg_reload_conf()")

    def settings(self) -> dict[str, str]:
        """The settings that matter for what is measured, as the server has them."""
        return dict(self.ask("SELECT name, current_setting(name) FROM unnest(%s::text[]) AS name", list(SHOWN)))

    def cpu_seconds(self) -> float:
        """What all processes of the server have used until now, those that are gone included."""
        ours = psutil.Process(self._control.info.backend_pid).parent()
        assert ours is not None
        while True:
            gone = _of_the_gone(ours)
            try:
                living = [child.cpu_times() for child in ours.children()]
            except psutil.NoSuchProcess:
                continue  # it has just become one of those that are gone
            if _of_the_gone(ours) == gone:  # or one that went in between would be in neither
                return gone + sum(times.user + times.system for times in living)

    @contextmanager
    def database(self, jobs: int = 0, cost: int = 0) -> Generator[str]:
        """The address of a new database with ``jobs`` pending jobs that cost ``cost`` credits each."""
        if jobs == 0:
            with self._clone(self._migrated) as conninfo:
                yield conninfo
        else:
            with self.filled(
                f"{jobs} jobs for {cost}", self._migrated, lambda there: fill(there, jobs, cost)
            ) as conninfo:
                yield conninfo

    @contextmanager
    def filled(self, what: str, template: str, fill_it: Callable[[str], None]) -> Generator[str]:
        """The address of a new database as ``fill_it`` makes it, which is asked once for each ``what``."""
        if what not in self._filled:
            name = self._create(template)
            fill_it(self.address(name))
            with psycopg.connect(self.address(name), autocommit=True) as connection:
                connection.execute("VACUUM ANALYZE")
            self._filled[what] = name
        with self._clone(self._filled[what]) as conninfo:
            yield conninfo

    @contextmanager
    def _clone(self, template: str) -> Generator[str]:
        name = self._create(template)
        try:
            yield self.address(name)
        finally:
            self.drop(name)

    def drop(self, name: str) -> None:
        self._control.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))

    def close(self) -> None:
        self._control.close()

    def _create(self, template: str) -> str:
        """FILE_COPY: with a checkpoint before and after, so that no measurement pays for the filling."""
        name = f"bench_{next(self._numbers)}"
        query = sql.SQL("CREATE DATABASE {} TEMPLATE {} STRATEGY file_copy")
        self._control.execute(query.format(sql.Identifier(name), sql.Identifier(template)))
        return name


def _of_the_gone(process: psutil.Process) -> float:
    times = process.cpu_times()
    return times.children_user + times.children_system


def fill(conninfo: str, jobs: int, cost: int) -> None:
    """Enqueue ``jobs`` jobs of users who can pay for all of them."""
    with psycopg.connect(conninfo, autocommit=True, options="-c search_path=generation") as connection:
        connection.execute("SELECT offer_providers(ARRAY['local'])")
        connection.execute(GRANT, {"users": USERS, "credits": max(1, jobs * cost)})
        connection.execute(FILL, {"users": USERS, "jobs": jobs, "cost": cost})


@contextmanager
def durable_server(**settings: str) -> Generator[Server]:
    """A server with fsync, as it is configured by default but for ``settings``, whose data go when it goes."""
    with (
        tempfile.TemporaryDirectory(prefix="generation-worker-bench-") as directory,
        EmbeddedPostgres(Path(directory), settings=settings) as postgres,
    ):
        server = Server(postgres)
        try:
            yield server
        finally:
            server.close()
