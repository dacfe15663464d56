"""No function of ours may be called by everybody."""

from generation_worker.db.migrations import run_sql

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    run_sql(__file__, "up")


def downgrade() -> None:
    """There is nothing to take back: whoever needs a function is granted it."""
