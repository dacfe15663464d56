"""How far the questions look."""

from __future__ import annotations

FAR = 10_000
"""How many rows are counted one by one before an estimate, or "or more", has to do."""
SAMPLE = 50_000
"""How many of the latest final jobs stand for a day."""
LAST_ENTRY = LAST_EVENT = 2**63 - 1
