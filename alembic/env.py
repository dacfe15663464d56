"""How Alembic reaches the database: one transaction for all that is missing, and one migration at a time."""

from __future__ import annotations

from alembic import context
from generation_worker.db.migrations import VERSION_TABLE, migrating
from generation_worker.db.tables import metadata

if context.is_offline_mode():
    raise SystemExit("The migrations are SQL already: read alembic/sql/")

attributes = context.config.attributes
with migrating(attributes.get("conninfo"), attributes.get("schema")) as (connection, schema):
    context.configure(
        connection=connection,
        target_metadata=metadata,
        version_table=VERSION_TABLE,
        version_table_schema=schema,
        on_version_apply=attributes.get("on_version_apply"),
    )
    context.run_migrations()
