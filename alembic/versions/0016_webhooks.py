"""Endpoints that are told, and the outbox of what they are told of."""

from generation_worker.db.migrations import run_sql

revision = "0016"
down_revision = "0015"


def upgrade() -> None:
    run_sql(__file__, "up")


def downgrade() -> None:
    run_sql(__file__, "down")
