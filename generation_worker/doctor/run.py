"""Runs checks: areas side by side, the checks of an area one after another, each for a limited time.

Each check has a thread of its own. One that does not come back is left behind with its thread, and the next one starts.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import ExitStack
from queue import SimpleQueue
from typing import NamedTuple

from generation_worker import wiring
from generation_worker.config import Settings
from generation_worker.doctor.check import Check, Sessions, all_problems, concerned, not_looked_at, settings_check
from generation_worker.doctor.database import database_checks
from generation_worker.doctor.fleet import fleet_checks, provider_checks
from generation_worker.doctor.machine import image_checks, leaving_no_directories, machine_checks
from generation_worker.doctor.storage import PREFIX, Trial, examine_settings
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


# All that is looked at, area by area.


AREAS = ("settings", "database", "storage", "providers", "images", "fleet", "machine")
"""What can be chosen, in the order of the report."""


class Examination:
    """The checks that were asked for. ``close`` it when they have been run."""

    def __init__(self, settings: Settings, problems: Sequence[str], *, limit: float) -> None:
        self._settings = settings
        self._problems = all_problems(settings, problems)
        self._limit = limit
        self._stack = ExitStack()
        self._sessions = self._open_sessions()

    def areas(self, only: Collection[str] = ()) -> list[list[Check]]:
        """The checks of each area, or those that ``only`` names by area or by name.

        Settings that are wrong are told in any case if they concern what was chosen. The storage is tried as a whole:
        what one check writes, another deletes. Raises ValueError for a name that there is not.
        """
        everything = [self._checks(area) for area in AREAS]
        if not only:
            return everything
        for name in only:
            if not any(_within(check.name, name) for checks in everything for check in checks):
                raise ValueError(f"there is no check {name!r}; there are {', '.join(AREAS)}, and single ones of them")
        names = ["storage" if _within(name, "storage") else name for name in only]
        chosen = [[c for c in checks if any(_within(c.name, name) for name in names)] for checks in everything]
        if not chosen[0]:
            chosen[0] = self._settings_that_concern([check.name for checks in chosen for check in checks])
        return [checks for checks in chosen if checks]

    def close(self) -> None:
        self._stack.close()

    def _checks(self, area: str) -> list[Check]:
        wrong = concerned(self._problems)
        if area in wrong:
            return [not_looked_at(area, "its settings are wrong, see settings")]
        return [
            not_looked_at(check.name, "its settings are wrong, see settings") if check.name in wrong else check
            for check in self._all(area)
        ]

    def _all(self, area: str) -> list[Check]:
        settings = self._settings
        make: dict[str, Callable[[], list[Check]]] = {
            "settings": lambda: [settings_check(settings, self._problems)],
            "database": lambda: database_checks(settings, self._sessions),
            "storage": self._storage_checks,
            "providers": lambda: provider_checks(settings, limit=self._limit, closing=self._stack.callback),
            "images": lambda: image_checks(settings, self._stack.callback),
            "fleet": lambda: fleet_checks(settings, self._sessions),
            "machine": lambda: machine_checks(settings),
        }
        return make[area]()

    def _storage_checks(self) -> list[Check]:
        settings = self._settings
        if settings.storage == "disk":
            self._stack.callback(leaving_no_directories(settings.storage_dir, PREFIX))
        public = settings.storage == "r2" and settings.r2_public_url is not None
        trial = Trial(lambda: wiring.build_storage(settings), settings.storage, public=public)
        return [Check("storage.settings", lambda: examine_settings(settings)), *trial.checks()]

    def _settings_that_concern(self, names: Sequence[str]) -> list[Check]:
        problems = [
            problem
            for problem in self._problems
            if any(_within(name, wrong) for name in names for wrong in concerned([problem]))
        ]
        return [settings_check(self._settings.model_copy(update={"notices": []}), problems)] if problems else []

    def _open_sessions(self) -> Sessions | None:
        if self._settings.database_url is None:
            return None
        sessions = Sessions(self._settings.require_database().conninfo)
        self._stack.callback(sessions.close)
        return sessions


def _within(name: str, chosen: str) -> bool:
    """Whether the check ``name`` is ``chosen``, or one of that area."""
    return name == chosen or name.startswith(f"{chosen}.")
