"""Sends the claim, and finds out over which jobs it fails: one row that cannot be worked on must not stop a fleet."""

from __future__ import annotations

import time
from collections.abc import Mapping

from generation_worker.domain.job import Place
from generation_worker.events import Events
from generation_worker.ports import Claim, Store, StoreUnavailable
from generation_worker.worker.lease import Clock
from generation_worker.worker.settings import WorkerSettings

LEFT_OUT = 60.0
"""Seconds for which a job over which a claim failed is left out of this worker's claims: then it may be put right."""
NOBODY = "00000000-0000-0000-0000-000000000000"
"""The id of no job. A claim that fails for it too fails for another reason than a job."""

Marks = Mapping[str, Place]


class Claimer:
    """Nothing of a job is changed because a claim failed over it: the fault may be anybody's."""

    def __init__(
        self, store: Store, settings: WorkerSettings, events: Events, *, clock: Clock = time.monotonic
    ) -> None:
        self._store = store
        self._settings = settings
        self._events = events
        self._clock = clock
        self._until: dict[str, float] = {}

    def claim(self, marks: Marks, slots: int) -> Claim:
        """Up to ``slots`` jobs, without those that cannot be claimed. Raises what the database says if it is no job's
        fault.
        """
        try:
            return self._ask(marks, slots)
        except StoreUnavailable:
            raise
        except Exception:
            if not self._leave_out_the_culprits(marks, slots):
                raise
        return self._ask(marks, slots)

    def _ask(self, marks: Marks, slots: int, *, rehearse: str | None = None) -> Claim:
        settings = self._settings
        return self._store.claim_jobs(
            settings.id,
            marks,
            keys=settings.keys,
            slots=slots,
            lease=settings.lease,
            max_attempts=settings.max_attempts,
            left_out=self._left_out(),
            rehearse=rehearse,
        )

    def _left_out(self) -> list[str]:
        now = self._clock()
        self._until = {job_id: until for job_id, until in self._until.items() if until > now}
        return list(self._until)

    def _leave_out_the_culprits(self, marks: Marks, slots: int) -> bool:
        """Whether there are any."""
        if self._fault(marks, NOBODY) is not None:
            return False
        suspects = self._store.find_suspects(marks, limit=slots, left_out=self._left_out())
        faults = [(job, fault) for job in suspects if (fault := self._fault(marks, job.id)) is not None]
        for job, fault in faults:
            self._until[job.id] = self._clock() + LEFT_OUT
            self._events.emit("job.unclaimable", job=job.id, trace_id=job.trace_id, error=_in_a_line(fault))
        return bool(faults)

    def _fault(self, marks: Marks, job_id: str) -> Exception | None:
        """What a claim of this job alone fails with."""
        try:
            self._ask(marks, 1, rehearse=job_id)
        except StoreUnavailable:
            raise
        except Exception as fault:  # noqa: BLE001 - whatever it is, it must not stop the others
            return fault
        return None


def _in_a_line(fault: Exception) -> str:
    """Without the details of a database's error: they may show the row."""
    return f"{type(fault).__name__}: {str(fault).partition(chr(10))[0]}"[:500]
