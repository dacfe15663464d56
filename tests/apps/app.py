"""An app that shares its database with the queue, and what of the queue it must leave alone."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from psycopg import sql

from generation_worker.db import migrations
from scripts.node_packages import NODE, NotThere, install
from tests.support import jobs
from tests.support.database import SCHEMA, Connection, Database
from tests.support.processes import clean_environment

TIMEOUT = 120
"""Seconds for one command of a tool."""

OBJECTS = """
SELECT 'pg_class', oid, relname || coalesce(relacl::text, '') FROM pg_class
 WHERE relnamespace = %(schema)s::regnamespace
UNION ALL
SELECT 'pg_attribute', attrelid, attname || ' ' || atttypid::regtype FROM pg_attribute
 WHERE attrelid IN (SELECT oid FROM pg_class WHERE relnamespace = %(schema)s::regnamespace)
UNION ALL
SELECT 'pg_constraint', oid, conname FROM pg_constraint WHERE connamespace = %(schema)s::regnamespace
UNION ALL
SELECT 'pg_trigger', oid, tgname FROM pg_trigger
 WHERE tgrelid IN (SELECT oid FROM pg_class WHERE relnamespace = %(schema)s::regnamespace)
UNION ALL
SELECT 'pg_proc', oid, pg_get_functiondef(oid) || coalesce(proacl::text, '') FROM pg_proc
 WHERE pronamespace = %(schema)s::regnamespace
ORDER BY 1, 2, 3
"""


class Contents(NamedTuple):
    """A schema's objects, which have another oid when they were dropped and made again, and the rows of its tables."""

    objects: list[tuple[str, int, str]]
    rows: dict[str, list[Any]]


def contents(connection: Connection, schema: str) -> Contents:
    objects = connection.execute(OBJECTS, {"schema": sql.Identifier(schema).as_string(connection)}).fetchall()
    names = "SELECT relname FROM pg_class WHERE relnamespace = %s::regnamespace AND relkind = 'r'"
    tables = connection.execute(names, (sql.Identifier(schema).as_string(connection),)).fetchall()
    rows: dict[str, list[Any]] = {}
    for (table,) in tables:
        query = sql.SQL("SELECT to_jsonb(t) FROM {} AS t ORDER BY to_jsonb(t)::text").format(
            sql.Identifier(schema, table)
        )
        rows[table] = [row for (row,) in connection.execute(query)]
    return Contents(objects, rows)


class Queue:
    """Our schema in an app's database, with a job and credits in it."""

    def __init__(self, database: Database) -> None:
        self.address = database.direct_conninfo
        self._database = database
        self._connection: Connection | None = None
        self._contents: Contents | None = None

    @property
    def connection(self) -> Connection:
        """A session of the app's own: its search path does not name our schema."""
        if self._connection is None:
            self._connection = self._database.connect_direct(options="")
        return self._connection

    def migrate(self, schema: str = SCHEMA) -> None:
        migrations.upgrade(self.address, schema=schema)
        ours = self._database.connect_direct(options=f'-c search_path="{schema}"')
        jobs.offer_local(ours)
        jobs.grant(ours)
        jobs.enqueue(ours)
        self.remember(schema)

    def remember(self, schema: str = SCHEMA) -> None:
        """What `assert_untouched` compares with."""
        self._contents = contents(self.connection, schema)

    def assert_untouched(self) -> None:
        assert self._contents is not None
        assert len(self._contents.rows["generation_job"]) == 1
        assert contents(self.connection, SCHEMA) == self._contents


@dataclass(frozen=True)
class App:
    """An app's directory, and the environment of its commands."""

    directory: Path
    environment: Mapping[str, str]

    def write(self, name: str, text: str) -> None:
        path = self.directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def run(self, *command: str | Path, status: int = 0) -> str:
        """Run a command without a terminal; returns its output, and fails with it if the status is another."""
        done = subprocess.run(
            command,
            check=False,
            cwd=self.directory,
            env=clean_environment(NO_COLOR="1", **self.environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=TIMEOUT,
        )
        assert done.returncode == status, f"{' '.join(map(str, command))}: status {done.returncode}\n{done.stdout}"
        return done.stdout


def node_app(directory: Path, packages: Path, **environment: str) -> App:
    """An app with the packages of one of scripts/node_packages.py's projects. Skips where they cannot be fetched."""
    try:
        modules = install(packages)
    except NotThere as problem:
        pytest.skip(f"NOT RUN: {problem}")
    (directory / "node_modules").symlink_to(modules)
    path = f"{NODE.parent}{os.pathsep}{os.environ['PATH']}"
    app = App(directory, {**environment, "PATH": path})
    app.write("package.json", '{ "type": "module" }\n')
    return app
