"""Prisma Migrate, as an app uses it that knows nothing of the queue in its database."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from scripts.node_packages import NODE, SOURCE
from tests.apps.app import App, Queue, node_app

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


def migrations(app: App) -> list[str]:
    return [path.read_text() for path in sorted(app.directory.glob("prisma/migrations/*/migration.sql"))]


@pytest.mark.parametrize("ours_first", [False, True])
def test_it_neither_sees_nor_touches_the_queue(queue: Queue, tmp_path: Path, ours_first: bool):
    app = make(tmp_path, queue.address + "?schema=public" if ours_first else queue.address)
    if ours_first:
        queue.migrate()
    prisma(app, "migrate", "dev", "--name", "init")
    if not ours_first:
        queue.migrate()
    queue.connection.execute("""INSERT INTO "Customer" (email) VALUES ('ada@example.com')""")

    assert IN_SYNC in prisma(app, "migrate", "dev")
    app.write("prisma/schema.prisma", SCHEMA + COUPON)
    prisma(app, "migrate", "dev", "--name", "coupons")
    first, second = migrations(app)
    assert [line for line in first.splitlines() if line.startswith("CREATE TABLE")] == [
        'CREATE TABLE "Customer" (',
        'CREATE TABLE "Order" (',
    ]
    assert [line for line in second.splitlines() if line and line[0] not in "- "] == ['CREATE TABLE "Coupon" (', ");"]
    assert "already in sync" in prisma(app, "db", "push")
    pulled = prisma(app, "db", "pull", "--print")
    assert sorted(re.findall(r"(?m)^(?:model|view|enum) (\w+)", pulled)) == ["Coupon", "Customer", "Order"]

    queue.assert_untouched()
    assert queue.connection.execute('SELECT email FROM "Customer"').fetchall() == [("ada@example.com",)]


def test_db_push_alone_needs_no_consent(queue: Queue, tmp_path: Path):
    """An app without migrations: what push would drop, it names and refuses without --accept-data-loss."""
    app = make(tmp_path, queue.address)
    queue.migrate()
    assert "now in sync" in prisma(app, "db", "push")
    app.write("prisma/schema.prisma", SCHEMA + COUPON)
    assert "now in sync" in prisma(app, "db", "push")
    queue.assert_untouched()


def test_in_the_schema_public_it_wants_to_drop_everything(queue: Queue, tmp_path: Path):
    """Why the schema is ours by default. It also shows that the tests above would notice."""
    app = make(tmp_path, queue.address)
    prisma(app, "migrate", "dev", "--name", "init")
    queue.migrate("public")
    drift = prisma(app, "migrate", "dev", status=130)
    assert "Drift detected" in drift
    assert "  - generation_job\n" in drift
    assert "You are about to drop the `generation_job` table" in prisma(app, "db", "push", status=1)
