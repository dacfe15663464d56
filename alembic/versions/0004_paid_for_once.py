"""What was paid for is taken up again: a prediction that the provider keeps, and an image that could not be stored."""

from generation_worker.db.migrations import run_sql

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    run_sql(__file__, "up")


def downgrade() -> None:
    run_sql(__file__, "down")
