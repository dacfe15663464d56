"""How a statement fails when the database is not there, or not free."""

from __future__ import annotations


class StoreUnavailable(Exception):
    """The database did not answer. Whether the statement took effect is not known."""


class StoreBusy(StoreUnavailable):
    """Somebody holds a row that the statement needs, and did not let go of it in time. Nothing was changed."""
