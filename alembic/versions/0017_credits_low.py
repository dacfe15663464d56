"""The app is told of a balance that runs low."""

from generation_worker.db.migrations import run_sql

revision = "0017"
down_revision = "0016"


def upgrade() -> None:
    run_sql(__file__, "up")


def downgrade() -> None:
    run_sql(__file__, "down")
