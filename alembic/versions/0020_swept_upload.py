"""Which uploads were swept away, for jobs that are replayed."""

from generation_worker.db.migrations import run_sql

revision = "0020"
down_revision = "0019"


def upgrade() -> None:
    run_sql(__file__, "up")


def downgrade() -> None:
    run_sql(__file__, "down")
