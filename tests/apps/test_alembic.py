"""Alembic, as an app uses it in the schema public, before and after ours."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from tests.apps.app import App, Queue
from tests.docs.documents import blocks
from tests.support.database import SCHEMA

MODELS = """
from sqlalchemy import Column, ForeignKey, Integer, MetaData, Table, Text, Uuid

metadata = MetaData()
customer = Table("customer", metadata, Column("id", Integer, primary_key=True), Column("email", Text, unique=True))
order = Table(
    "order",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("customer_id", ForeignKey(customer.c.id), nullable=False),
    Column("job_id", Uuid),
)
"""
NO_DIFFERENCE = "No new upgrade operations detected."


def make(directory: Path, address: str) -> App:
    app = App(directory, {"PYTHONPATH": str(directory)})
    alembic(app, "init", "migrations")
    app.write("models.py", MODELS)
    change(app, "migrations/env.py", "target_metadata = None", "from models import metadata as target_metadata")
    url = address.replace("postgresql://", "postgresql+psycopg://").replace("%", "%%")
    change(app, "alembic.ini", "driver://user:pass@localhost/dbname", url)
    return app


def change(app: App, name: str, old: str, new: str) -> None:
    text = (app.directory / name).read_text()
    assert old in text
    app.write(name, text.replace(old, new))


def alembic(app: App, *arguments: str, status: int = 0) -> str:
    return app.run(sys.executable, "-m", "alembic", *arguments, status=status)


def versions(queue: Queue) -> list[tuple[str]]:
    return queue.connection.execute("SELECT version_num FROM alembic_version").fetchall()


@pytest.mark.parametrize("ours_first", [False, True])
def test_neither_sees_nor_touches_the_other(queue: Queue, tmp_path: Path, ours_first: bool):
    app = make(tmp_path, queue.address)
    if ours_first:
        queue.migrate()
    alembic(app, "revision", "--autogenerate", "--message", "init")
    [migration] = app.directory.glob("migrations/versions/*_init.py")
    assert re.findall(r"op\.(\w+)\('(\w+)'", migration.read_text()) == [
        ("create_table", "customer"),
        ("create_table", "order"),
        ("drop_table", "order"),
        ("drop_table", "customer"),
    ]
    alembic(app, "upgrade", "head")
    version = versions(queue)
    if not ours_first:
        queue.migrate()

    assert NO_DIFFERENCE in alembic(app, "check")
    assert version == versions(queue)
    assert len(version) == 1
    queue.assert_untouched()


def test_with_all_schemas_it_needs_the_filter_of_the_page(queue: Queue, tmp_path: Path):
    app = make(tmp_path, queue.address)
    alembic(app, "revision", "--autogenerate", "--message", "init")
    alembic(app, "upgrade", "head")
    queue.migrate()
    call = "target_metadata=target_metadata"
    change(
        app,
        "migrations/env.py",
        f"connection=connection, {call}",
        f"connection=connection, {call}, include_schemas=True",
    )
    assert "('remove_table'" in alembic(app, "check", status=255)

    [block] = [block.text for block in blocks("docs/apps.md") if block.language == "python"]
    function, _, _ = block.partition("\n\n\n")
    change(app, "migrations/env.py", "\nconfig = ", f"\n{function.replace('generation', SCHEMA)}\n\nconfig = ")
    change(app, "migrations/env.py", "include_schemas=True", "include_schemas=True, include_name=include_name")
    assert NO_DIFFERENCE in alembic(app, "check")
    queue.assert_untouched()
