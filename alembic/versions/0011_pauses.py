"""Pauses that hold in the claim, and jobs that are put aside meanwhile."""

from generation_worker.db.migrations import run_sql

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    run_sql(__file__, "up")


def downgrade() -> None:
    run_sql(__file__, "down")
