"""How Alembic reaches the database: one transaction for all that is missing, and one migration at a time."""

from __future__ import annotations

from alembic import context
from generation_worker.db.migrations import migrating
from generation_worker.db.tables import metadata

if context.is_offline_mode():
    raise SystemExit("The migrations are SQL already: read alembic/sql/")

with migrating(context.config.attributes.get("conninfo")) as connection:
    context.configure(
        connection=connection,
        target_metadata=metadata,
        on_version_apply=context.config.attributes.get("on_version_apply"),
    )
    context.run_migrations()
