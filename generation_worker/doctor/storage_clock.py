"""How far this machine's clock is from the storage's: a signature that is too old, or too new, is refused."""

from __future__ import annotations

import time
from email.utils import parsedate_to_datetime

from generation_worker.doctor.link import SOON, fetch
from generation_worker.domain.finding import Verdict, fault, ok, skipped, warning
from generation_worker.domain.spans import span
from generation_worker.ports import Storage

WORTH_A_WARNING, REFUSED = 60.0, 900.0
"""Seconds. Beyond the second S3 says RequestTimeTooSkewed."""


def examine_clock(storage: Storage, key: str) -> Verdict:
    """By the date of an answer, be it a refusal."""
    address = storage.link(key, seconds=SOON)
    if address is None:
        return skipped("files have the clock of this machine")
    asked = time.time()
    fetched = fetch(address)
    ahead = _ahead(fetched.date, (asked + time.time()) / 2)
    if ahead is None:
        return skipped(f"the storage does not say what time it is ({fetched.told})")
    told = f"this machine is {span(abs(ahead))} {'ahead of' if ahead > 0 else 'behind'} the storage"
    if abs(ahead) > REFUSED:
        return fault(f"{told}: what it signs is refused", "Synchronise its clock (NTP)")
    if abs(ahead) > WORTH_A_WARNING:
        return warning(told, "Synchronise its clock (NTP): from a quarter of an hour on, what it signs is refused")
    return ok("this machine and the storage agree within a minute")


def _ahead(date: str | None, now: float) -> float | None:
    """Seconds; None without a date that can be read."""
    try:
        return None if date is None else now - parsedate_to_datetime(date).timestamp()
    except ValueError:
        return None
