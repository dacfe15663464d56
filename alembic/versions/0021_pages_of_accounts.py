"""Accounts are found by how their users begin, keys listed by their age."""

from generation_worker.db.migrations import run_sql

revision = "0021"
down_revision = "0020"


def upgrade() -> None:
    run_sql(__file__, "up")


def downgrade() -> None:
    run_sql(__file__, "down")
