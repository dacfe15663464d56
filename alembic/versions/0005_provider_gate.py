"""Limits and breakers of the providers' keys, for the whole fleet."""

from generation_worker.db.migrations import run_sql

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    run_sql(__file__, "up")


def downgrade() -> None:
    run_sql(__file__, "down")
