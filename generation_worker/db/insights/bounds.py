"""How far the questions look."""

from __future__ import annotations

FAR = 10_000
"""How many rows are counted one by one before an estimate, or "or more", has to do."""
HEAD = 1_000
"""How many rows of each lane are read to tell the places of many jobs at once."""
SAMPLE = 50_000
"""How many of the latest final jobs stand for a day."""
LAST_ENTRY = LAST_EVENT = 2**63 - 1
