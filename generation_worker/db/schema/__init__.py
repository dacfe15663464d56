"""The tables as SQLAlchemy knows them, for Alembic's comparison: a module for each subject.

The truth is alembic/sql, which also has what is not said here: checks, triggers, functions, defaults. A test compares.
"""

from generation_worker.db.schema import access, accounts, attempts, control, fleet, jobs, webhooks
from generation_worker.db.schema.base import metadata

__all__ = ["access", "accounts", "attempts", "control", "fleet", "jobs", "metadata", "webhooks"]
