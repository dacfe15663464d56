"""drizzle-kit, as an app uses it that knows nothing of the queue in its database."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from psycopg.errors import UndefinedTable

from generation_worker.db.statements import in_schema
from scripts.node_packages import DRIZZLE_1, NODE, SOURCE
from tests.apps.app import App, Queue, node_app
from tests.docs.documents import ROOT, blocks
from tests.support.database import SCHEMA

VIEW = (ROOT / "sql" / "compat" / "public_view.sql").read_text()
NAIVE = """
import { defineConfig } from "drizzle-kit";

export default defineConfig({
  dialect: "postgresql",
  schema: "./src/schema.ts",
  out: "./drizzle",
  dbCredentials: { url: process.env.DATABASE_URL! },
});
"""
[OF_THE_PAGE] = [block.text for block in blocks("docs/apps.md") if block.language == "ts"]
WITH_FILTER = re.sub(r".*tablesFilter.*\n", "", OF_THE_PAGE)
TABLES = """
import { integer, pgTable, serial, text, uuid } from "drizzle-orm/pg-core";

export const customer = pgTable("customer", { id: serial().primaryKey(), email: text().notNull().unique() });
export const order = pgTable("order", {
  id: serial().primaryKey(),
  customerId: integer().notNull().references(() => customer.id),
  jobId: uuid(),
});
"""
PHONE = TABLES.replace("email:", "phone: text(), email:")


def make(directory: Path, address: str, packages: Path, config: str) -> App:
    app = node_app(directory, packages, DATABASE_URL=address)
    app.write("drizzle.config.ts", config)
    app.write("pull.config.ts", config.replace("./drizzle", "./pulled"))
    app.write("src/schema.ts", TABLES)
    return app


def kit(app: App, *arguments: str, status: int = 0) -> str:
    return app.run(NODE, "node_modules/drizzle-kit/bin.cjs", *arguments, status=status)


@pytest.mark.parametrize(
    ("packages", "config"),
    [
        pytest.param(SOURCE, NAIVE, id="0.x"),
        pytest.param(DRIZZLE_1, WITH_FILTER, id="1.0-with-filter"),
    ],
)
def test_it_neither_sees_nor_touches_the_queue(queue: Queue, tmp_path: Path, packages: Path, config: str):
    app = make(tmp_path, queue.address, packages, config)
    assert "Changes applied" in kit(app, "push")
    queue.migrate()
    queue.connection.execute("INSERT INTO customer (email) VALUES ('ada@example.com')")

    assert "No changes detected" in kit(app, "push")
    app.write("src/schema.ts", PHONE)
    assert "Changes applied" in kit(app, "push")  # it asks nothing, although nobody could answer
    kit(app, "generate")
    [migration] = app.directory.glob("drizzle/**/*.sql")
    assert re.findall(r'CREATE (\w+) "(\w+)"', migration.read_text()) == [("TABLE", "customer"), ("TABLE", "order")]
    kit(app, "pull", "--config", "pull.config.ts")
    pulled = (app.directory / "pulled" / "schema.ts").read_text()
    assert sorted(re.findall(r"export const (\w+) =", pulled)) == ["customer", "order"]

    queue.assert_untouched()
    assert queue.connection.execute("SELECT email, phone FROM customer").fetchall() == [("ada@example.com", None)]


def test_version_1_without_a_filter_wants_to_drop_the_schema(queue: Queue, tmp_path: Path):
    """From 1.0 on it looks at all schemas by default. It asks before it drops what holds rows."""
    app = make(tmp_path, queue.address, DRIZZLE_1, NAIVE)
    kit(app, "push")
    queue.migrate()
    asked = kit(app, "push", status=2)
    assert f'"kind": "schema", "entity": ["{SCHEMA}"]' in asked
    assert f'"kind": "table", "entity": ["{SCHEMA}", "generation_job"]' in asked
    queue.assert_untouched()
    consent = re.findall(r"\{.*\}", asked)
    # It drops tables one by one, until objects that depend on one of them stop it.
    assert "DROP TABLE" in kit(app, "push", "--hints", f"[{','.join(consent)}]", status=1)
    with pytest.raises(AssertionError):
        queue.assert_untouched()


@pytest.mark.parametrize("packages", [pytest.param(SOURCE, id="0.x"), pytest.param(DRIZZLE_1, id="1.0")])
def test_it_drops_the_view_of_public_unless_a_filter_names_it(queue: Queue, tmp_path: Path, packages: Path):
    app = make(tmp_path, queue.address, packages, OF_THE_PAGE)
    queue.migrate()
    queue.connection.execute(in_schema(VIEW, SCHEMA).encode())
    kit(app, "push")
    view = "SELECT status FROM public.generation_job"
    assert queue.connection.execute(view).fetchall() == [("pending",)]
    app.write("drizzle.config.ts", WITH_FILTER)
    kit(app, "push")
    with pytest.raises(UndefinedTable):
        queue.connection.execute(view)
    queue.assert_untouched()
