"""The checks of each area, and how they run: areas side by side, the checks of an area one after another.

Each check has a thread of its own and a limited time. A check that does not end in time is left behind with its thread,
and the next one starts.
"""

import threading
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import ExitStack
from queue import SimpleQueue
from typing import NamedTuple

from generation_worker import wiring
from generation_worker.config import Settings
from generation_worker.doctor import database, fleet, machine, storage
from generation_worker.doctor.check import (
    Check,
    ReadOnlySessions,
    affected_checks,
    all_problems,
    settings_check,
    skipped_check,
)
from generation_worker.domain.errors import clean_message
from generation_worker.domain.finding import Finding, Verdict, fault, skipped
from generation_worker.log.redaction import redact

SLOW = "Find out what it waits for; --timeout gives it more time"
AREAS = ("settings", "database", "storage", "providers", "images", "fleet", "machine")
"""The areas, in the order of the report."""


class CheckStarted(NamedTuple):
    check: str


class CheckEnded(NamedTuple):
    check: str
    findings: list[Finding]


Event = CheckStarted | CheckEnded


class _CheckThread(threading.Thread):
    """Runs one check."""

    def __init__(self, check: Check) -> None:
        super().__init__(name=f"doctor {check.name}", daemon=True)
        self._check = check
        self.verdicts: list[Verdict] = []
        self.seconds = 0.0

    def run(self) -> None:
        started = time.monotonic()
        try:
            if self._check.prepare is not None:
                self._check.prepare()
            started = time.monotonic()
            found = self._check.run()
        except Exception as error:  # noqa: BLE001 - one check that breaks must not keep the others from running
            found = fault(f"this should not happen: {type(error).__name__}: {error}", "Please report it")
        self.seconds = time.monotonic() - started
        self.verdicts = [found] if isinstance(found, Verdict) else list(found)


class Examination:
    """All checks for these settings. ``close`` it when they have run."""

    def __init__(self, settings: Settings, problems: Sequence[str], *, limit: float) -> None:
        self._settings = settings
        self._problems = all_problems(settings, problems)
        self._limit = limit
        self._stack = ExitStack()
        self._sessions = self._open_sessions()

    def areas(self, only: Collection[str] = ()) -> list[list[Check]]:
        """The checks of each area, or those that ``only`` names by area or by name.

        Wrong settings are reported in any case if a chosen check depends on them. The checks of the storage belong
        together: what one writes, another deletes. Raises ValueError for an unknown name.
        """
        everything = [self._checks(area) for area in AREAS]
        if not only:
            return everything
        for name in only:
            if not any(_belongs_to(check.name, name) for checks in everything for check in checks):
                raise ValueError(f"there is no check {name!r}; there are {', '.join(AREAS)}, and single ones of them")
        names = ["storage" if _belongs_to(name, "storage") else name for name in only]
        chosen = [[c for c in checks if any(_belongs_to(c.name, name) for name in names)] for checks in everything]
        if not chosen[0]:
            chosen[0] = self._settings_check_for([check.name for checks in chosen for check in checks])
        return [checks for checks in chosen if checks]

    def close(self) -> None:
        self._stack.close()

    def _checks(self, area: str) -> list[Check]:
        wrong = affected_checks(self._problems)
        if area in wrong:
            return [skipped_check(area, "its settings are wrong, see settings")]
        return [
            skipped_check(check.name, "its settings are wrong, see settings") if check.name in wrong else check
            for check in self._all(area)
        ]

    def _all(self, area: str) -> list[Check]:
        settings = self._settings
        make: dict[str, Callable[[], list[Check]]] = {
            "settings": lambda: [settings_check(settings, self._problems)],
            "database": lambda: database.database_checks(settings, self._sessions),
            "storage": self._storage_checks,
            "providers": lambda: fleet.provider_checks(settings, limit=self._limit, closing=self._stack.callback),
            "images": lambda: machine.image_checks(settings, self._stack.callback),
            "fleet": lambda: fleet.fleet_checks(settings, self._sessions),
            "machine": lambda: machine.machine_checks(settings),
        }
        return make[area]()

    def _storage_checks(self) -> list[Check]:
        settings = self._settings
        if settings.storage == "disk":
            self._stack.callback(machine.leaving_no_directories(settings.storage_dir, storage.PREFIX))
        public = settings.storage == "r2" and settings.r2_public_url is not None
        trial = storage.StorageTrial(lambda: wiring.build_storage(settings), settings.storage, public=public)
        return [Check("storage.settings", lambda: storage.examine_settings(settings)), *trial.checks()]

    def _settings_check_for(self, names: Sequence[str]) -> list[Check]:
        problems = [
            problem
            for problem in self._problems
            if any(_belongs_to(name, wrong) for name in names for wrong in affected_checks([problem]))
        ]
        return [settings_check(self._settings.model_copy(update={"notices": []}), problems)] if problems else []

    def _open_sessions(self) -> ReadOnlySessions | None:
        if self._settings.database_url is None:
            return None
        sessions = ReadOnlySessions(self._settings.require_database().conninfo)
        self._stack.callback(sessions.close)
        return sessions


def run_checks(areas: Sequence[Sequence[Check]], *, limit: float) -> Iterator[Event]:
    """Run the checks and report each start and end. No check takes longer than ``limit`` seconds, and none raises."""
    events: SimpleQueue[Event] = SimpleQueue()
    for checks in areas:
        threading.Thread(target=_run_area, args=(checks, limit, events), daemon=True).start()
    left = sum(len(checks) for checks in areas)
    while left:
        event = events.get()
        left -= isinstance(event, CheckEnded)
        yield event


def _run_area(checks: Sequence[Check], limit: float, events: SimpleQueue[Event]) -> None:
    failed: set[str] = set()
    for check in checks:
        events.put(CheckStarted(check.name))
        findings = _run_check(check, failed, limit)
        if any(finding.status in ("fault", "skipped") for finding in findings):
            failed.add(check.name)
        events.put(CheckEnded(check.name, findings))


def _run_check(check: Check, failed: set[str], limit: float) -> list[Finding]:
    if missing := [name for name in check.needs if name in failed]:
        return _findings(check, [skipped(f"needs {', '.join(missing)}")], 0)
    thread = _CheckThread(check)
    thread.start()
    thread.join(limit)
    if thread.is_alive():
        return _findings(check, [fault(f"it did not end within {limit:g} s", SLOW)], limit)
    return _findings(check, thread.verdicts, thread.seconds)


def _findings(check: Check, verdicts: Sequence[Verdict], seconds: float) -> list[Finding]:
    """``verdicts`` as findings, without secrets and control characters."""
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


def _belongs_to(name: str, chosen: str) -> bool:
    """Whether the check ``name`` is ``chosen``, or one of that area."""
    return name == chosen or name.startswith(f"{chosen}.")
