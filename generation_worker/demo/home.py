"""Where the demo lives: a directory of its own, and in it a server with a database that is new for every run."""

from __future__ import annotations

import shutil
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from psycopg import sql

from generation_worker.config import ConfigurationError
from generation_worker.db import migrations
from generation_worker.db.embedded import EmbeddedPostgres
from generation_worker.db.pool import connect

MARKER = ".generation-worker-demo"
"""Tells our directory from one with other things in it: a run begins with removing what the one before has made."""
DATABASE = "demo"


@dataclass(frozen=True, slots=True)
class Home:
    """The paths of the demo; what lies under them is of the latest run."""

    directory: Path

    @property
    def server(self) -> Path:
        return self.directory / "postgres"

    @property
    def storage(self) -> Path:
        return self.directory / "storage"

    @property
    def sheet(self) -> Path:
        return self.directory / "contact-sheet.webp"

    @property
    def log(self) -> Path:
        return self.directory / "worker.log"

    def places(self) -> dict[str, str]:
        paths = {"contact_sheet": self.sheet, "storage": self.storage, "log": self.log, "database": self.server}
        return {name: str(path) for name, path in paths.items()}

    def move_in(self) -> None:
        """Make the directory, or take it over. Raises ConfigurationError if it is somebody else's."""
        taken = self.directory.exists() and not (self.directory / MARKER).exists()
        if taken and (not self.directory.is_dir() or any(self.directory.iterdir())):
            raise ConfigurationError([f"--directory: {self.directory} has other things in it; name a new one"])
        self.directory.mkdir(parents=True, exist_ok=True)
        (self.directory / MARKER).touch()

    def clear(self) -> None:
        """Remove what the run before has made; only who holds the server may."""
        shutil.rmtree(self.storage, ignore_errors=True)
        for path in (self.sheet, self.log):
            path.unlink(missing_ok=True)


@contextmanager
def own_server(home: Home) -> Generator[EmbeddedPostgres]:
    """The server, running while the block does. Raises EmbeddedPostgresError, also while another demo has it."""
    with EmbeddedPostgres(home.server, durable=False) as postgres:
        yield postgres


def new_database(postgres: EmbeddedPostgres) -> str:
    """The address of a migrated database without rows. It is a copy of a template, which takes a tenth of a second."""
    template = f"migrated_{migrations.digest()[:16]}"
    with connect(postgres.conninfo(), prepare=False) as connection:
        found = connection.execute("SELECT datname FROM pg_database WHERE datname NOT IN ('postgres', 'template0')")
        names = {row[0] for row in found} - {"template1"}
        for name in names - {template}:
            connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))
        if template not in names:
            connection.execute("CREATE DATABASE half_migrated")
            migrations.upgrade(postgres.conninfo("half_migrated"))
            connection.execute(sql.SQL("ALTER DATABASE half_migrated RENAME TO {}").format(sql.Identifier(template)))
        copy = sql.SQL("CREATE DATABASE {} TEMPLATE {} STRATEGY file_copy")
        connection.execute(copy.format(sql.Identifier(DATABASE), sql.Identifier(template)))
    return postgres.conninfo(DATABASE)
