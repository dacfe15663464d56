"""Runs checks: areas side by side, the checks of an area one after another, each for a limited time.

Each check has a thread of its own. One that does not come back is left behind with its thread, and the next one starts.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from queue import SimpleQueue
from typing import NamedTuple

from generation_worker.doctor.check import Check
from generation_worker.domain.errors import clean_message
from generation_worker.domain.finding import Finding, Verdict, fault, skipped
from generation_worker.log.redaction import redact

SLOW = "Look at what it waits for; with --timeout it may take longer"


class Started(NamedTuple):
    check: str


class Ended(NamedTuple):
    check: str
    findings: list[Finding]


Event = Started | Ended


def run(areas: Sequence[Sequence[Check]], *, limit: float) -> Iterator[Event]:
    """What happens, as it happens. No check takes longer than ``limit`` seconds, and none raises."""
    events: SimpleQueue[Event] = SimpleQueue()
    for checks in areas:
        threading.Thread(target=_go_through, args=(checks, limit, events), daemon=True).start()
    left = sum(len(checks) for checks in areas)
    while left:
        event = events.get()
        left -= isinstance(event, Ended)
        yield event


def _go_through(checks: Sequence[Check], limit: float, events: SimpleQueue[Event]) -> None:
    failed: set[str] = set()
    for check in checks:
        events.put(Started(check.name))
        findings = _examine(check, failed, limit)
        if any(finding.status in ("fault", "skipped") for finding in findings):
            failed.add(check.name)
        events.put(Ended(check.name, findings))


def _examine(check: Check, failed: set[str], limit: float) -> list[Finding]:
    if missing := [name for name in check.needs if name in failed]:
        return _named(check, [skipped(f"needs {', '.join(missing)}")], 0)
    attempt = _Attempt(check)
    attempt.start()
    attempt.join(limit)
    if attempt.is_alive():
        return _named(check, [fault(f"it did not end within {limit:g} s", SLOW)], limit)
    return _named(check, attempt.verdicts, attempt.seconds)


class _Attempt(threading.Thread):
    """One check at work."""

    def __init__(self, check: Check) -> None:
        super().__init__(name=f"doctor {check.name}", daemon=True)
        self._check = check
        self.verdicts: list[Verdict] = []
        self.seconds = 0.0

    def run(self) -> None:
        begun = time.monotonic()
        try:
            if self._check.prepare is not None:
                self._check.prepare()
            begun = time.monotonic()
            found = self._check.run()
        except Exception as error:  # noqa: BLE001 - one check that breaks must not keep the others from running
            found = fault(f"this should not happen: {type(error).__name__}: {error}", "Please report it")
        self.seconds = time.monotonic() - begun
        self.verdicts = [found] if isinstance(found, Verdict) else list(found)


def _named(check: Check, verdicts: Sequence[Verdict], seconds: float) -> list[Finding]:
    """Findings that can be shown to anybody."""
    return [
        Finding(
            check=check.name,
            status=verdict.status,
            detail=redact(clean_message(verdict.detail)),
            remedy=None if verdict.remedy is None else redact(clean_message(verdict.remedy)),
            milliseconds=round(1000 * seconds),
        )
        for verdict in verdicts
    ]
