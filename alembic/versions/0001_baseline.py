"""The whole database: jobs, credits, provider calls, gates, webhooks, keys and the audit trail."""

from generation_worker.db.migrations import run_sql

revision = "0001"
down_revision = None


def upgrade() -> None:
    run_sql(__file__, "up")


def downgrade() -> None:
    run_sql(__file__, "down")
