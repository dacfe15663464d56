"""Prisma Migrate, as an app uses it that knows nothing of the queue in its database."""

from __future__ import annotations

import re
from pathlib import Path

from generation_worker.db.statements import in_schema
from scripts.node_packages import NODE, SOURCE
from tests.apps.app import App, Queue, node_app
from tests.docs.documents import ROOT
from tests.support.database import SCHEMA as OURS

VIEW = (ROOT / "sql" / "compat" / "public_view.sql").read_text()
ENGINE = Path(__file__).with_name("schema_engine.mjs")
CONFIG = """
import { defineConfig } from "prisma/config";

export default defineConfig({
  schema: "prisma/schema.prisma",
  migrations: { path: "prisma/migrations" },
  datasource: { url: process.env.DATABASE_URL },
});
"""
SCHEMA = """
datasource db {
  provider = "postgresql"
}

model Customer {
  id     Int     @id @default(autoincrement())
  email  String  @unique
  orders Order[]
}

model Order {
  id         Int      @id @default(autoincrement())
  customer   Customer @relation(fields: [customerId], references: [id])
  customerId Int
  jobId      String?  @db.Uuid
}
"""
COUPON = """
model Coupon {
  code String @id
}
"""
INIT = [
    'CREATE TABLE "Customer"',
    'CREATE TABLE "Order"',
    'CREATE UNIQUE INDEX "Customer_email_key"',
    'ALTER TABLE "Order"',
]
IN_SYNC = "Already in sync, no schema change or pending migration was found."


def make(directory: Path, address: str) -> App:
    quiet = {"CHECKPOINT_DISABLE": "1", "PRISMA_HIDE_UPDATE_MESSAGE": "1"}
    starter = directory / "schema-engine"
    app = node_app(directory, SOURCE, DATABASE_URL=address, PRISMA_SCHEMA_ENGINE_BINARY=str(starter), **quiet)
    app.write("prisma.config.ts", CONFIG)
    app.write("prisma/schema.prisma", SCHEMA)
    app.write(ENGINE.name, ENGINE.read_text())
    app.write(starter.name, f'#!/bin/sh\nexec "{NODE}" "{directory / ENGINE.name}" "$@"\n')
    starter.chmod(0o755)
    return app


def prisma(app: App, *arguments: str, status: int = 0) -> str:
    return app.run(NODE, "node_modules/prisma/build/index.js", *arguments, status=status)


def statements(app: App) -> list[str]:
    """How each statement of the app's migrations begins."""
    texts = [path.read_text() for path in sorted(app.directory.glob("prisma/migrations/*/migration.sql"))]
    return re.findall(r'(?m)^[A-Z][A-Z ]+ "\w+"', "".join(texts))


def test_an_app_that_is_there_before_the_queue(queue: Queue, tmp_path: Path):
    app = make(tmp_path, queue.address)
    prisma(app, "migrate", "dev", "--name", "init")
    queue.migrate()
    queue.connection.execute("""INSERT INTO "Customer" (email) VALUES ('ada@example.com')""")

    assert IN_SYNC in prisma(app, "migrate", "dev")
    app.write("prisma/schema.prisma", SCHEMA + COUPON)
    prisma(app, "migrate", "dev", "--name", "coupons")
    assert statements(app) == [*INIT, 'CREATE TABLE "Coupon"']
    assert "already in sync" in prisma(app, "db", "push")

    queue.assert_untouched()
    assert queue.connection.execute('SELECT email FROM "Customer"').fetchall() == [("ada@example.com",)]


def test_an_app_that_comes_after_the_queue(queue: Queue, tmp_path: Path):
    app = make(tmp_path, queue.address + "?schema=public")
    queue.migrate()
    prisma(app, "migrate", "dev", "--name", "init")
    assert statements(app) == INIT
    assert IN_SYNC in prisma(app, "migrate", "dev")
    pulled = prisma(app, "db", "pull", "--print")
    assert sorted(re.findall(r"(?m)^(?:model|view|enum) (\w+)", pulled)) == ["Customer", "Order"]
    queue.assert_untouched()


def test_db_push_alone_needs_no_consent(queue: Queue, tmp_path: Path):
    """Without --accept-data-loss it refuses to drop what has rows. An optional view of ours is nothing to it."""
    app = make(tmp_path, queue.address)
    queue.migrate()
    assert "now in sync" in prisma(app, "db", "push")
    app.write("prisma/schema.prisma", SCHEMA + COUPON)
    assert "now in sync" in prisma(app, "db", "push")
    queue.assert_untouched()

    queue.connection.execute(in_schema(VIEW, OURS).encode())
    assert "already in sync" in prisma(app, "db", "push")
    assert queue.connection.execute("SELECT status FROM public.generation_job").fetchall() == [("pending",)]


def test_in_the_schema_public_it_wants_to_drop_everything(queue: Queue, tmp_path: Path):
    """Why the schema is ours by default. It also shows that the tests above would notice."""
    app = make(tmp_path, queue.address)
    queue.migrate("public")
    drift = prisma(app, "migrate", "dev", status=130)
    assert "Drift detected" in drift
    assert "  - generation_job\n" in drift
    assert "You are about to drop the `generation_job` table" in prisma(app, "db", "push", status=1)
