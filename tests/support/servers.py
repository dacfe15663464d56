"""The PostgreSQL server that the tests use: an embedded one, a container, or the one that the environment names."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import psycopg
from psycopg import sql

from generation_worker.db.embedded import EmbeddedPostgres
from tests.canaries import tables
from tests.canaries.scanner import scanner


@dataclass(frozen=True)
class Server:
    """Where tests connect (`url`) and where databases are made (`direct_url`): they differ behind a pooler."""

    url: str
    direct_url: str

    @property
    def pooled(self) -> bool:
        return self.url != self.direct_url

    @contextmanager
    def temporary_database(self, name: str) -> Generator[Server]:
        """A new, empty database: the server's addresses with its name in them."""
        with psycopg.connect(self.direct_url, autocommit=True) as connection:
            connection.execute(sql.SQL("CREATE DATABASE {} TEMPLATE template0").format(sql.Identifier(name)))
            try:
                yield Server(_with_database(self.url, name), _with_database(self.direct_url, name))
            finally:
                connection.execute(sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS true").format(sql.Identifier(name)))
                _look_for_secrets(_with_database(self.direct_url, name))
                connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


@contextmanager
def server() -> Generator[Server]:
    """TEST_DATABASE_URL (and TEST_DIRECT_URL behind a pooler), a container if TEST_WITH_CONTAINERS, or our own."""
    if url := os.environ.get("TEST_DATABASE_URL"):
        yield Server(_for_libpq(url), _for_libpq(os.environ.get("TEST_DIRECT_URL", url)))
    elif os.environ.get("TEST_WITH_CONTAINERS"):
        with _container() as url:
            yield Server(url, url)
    else:
        with embedded() as url:
            yield Server(url, url)


@contextmanager
def embedded(**settings: str) -> Generator[str]:
    """The address of an embedded server whose data go when it goes."""
    with (
        tempfile.TemporaryDirectory(prefix="generation-worker-") as directory,
        EmbeddedPostgres(Path(directory), durable=False, settings=settings) as postgres,
    ):
        password = urlsplit(postgres.conninfo()).password
        assert password is not None
        scanner.add_secret(password)
        yield postgres.conninfo()


@contextmanager
def _container() -> Generator[str]:
    from testcontainers.postgres import PostgresContainer  # noqa: PLC0415 - only where Docker runs

    with PostgresContainer("postgres:18-alpine", driver=None) as container:
        yield container.get_connection_url()


def with_login(address: str, user: str, password: str) -> str:
    """The address of the same database for another role."""
    parts = urlsplit(address)
    return urlunsplit(parts._replace(netloc=f"{user}:{password}@{parts.netloc.rpartition('@')[2]}"))


def _look_for_secrets(url: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        tables.prepare(connection)
        tables.look_at_tables(connection)


def _with_database(url: str, name: str) -> str:
    return urlunsplit(urlsplit(url)._replace(path=f"/{name}"))


def _for_libpq(url: str) -> str:
    """Without the parameter that tells Prisma and us, but not libpq, that the address is a pooler's."""
    parts = urlsplit(url)
    query = [(name, value) for name, value in parse_qsl(parts.query) if name != "pgbouncer"]
    return urlunsplit(parts._replace(query=urlencode(query)))
