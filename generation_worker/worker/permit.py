"""The right to one call of a limited key, for the moment in which the call's request leaves."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from generation_worker.domain.errors import GateClosed
from generation_worker.domain.gate import FRESH
from generation_worker.ports import Store, StoreUnavailable
from generation_worker.worker.lease import Clock

if TYPE_CHECKING:
    from generation_worker.domain.job import Job

MOST_RENEWALS = 3
"""A database that takes longer than a permit stays fresh is not asked for ever: its last stamp has to do."""


class Permit:
    """Stamped by the database at ``stamped_at`` or later; ``tenth`` is None for a key without a limit."""

    def __init__(
        self,
        store: Store,
        job: Job,
        *,
        key_label: str,
        tenth: int | None,
        stamped_at: float,
        clock: Clock = time.monotonic,
    ) -> None:
        self._store = store
        self._job = job
        self._key_label = key_label
        self._tenth = tenth
        self._stamped_at = stamped_at
        self._clock = clock

    def freshen(self, number: int) -> None:
        """See to it that the stamp of the call with this number is of this moment. Raises GateClosed."""
        for _ in range(MOST_RENEWALS):
            if self._tenth is None or self._clock() - self._stamped_at <= FRESH:
                return
            self._renew(number, self._tenth)

    def _renew(self, number: int, tenth: int) -> None:
        asked_at = self._clock()
        try:
            admission = self._store.renew_permit(self._job, number, key_label=self._key_label, permit=tenth)
        except StoreUnavailable as error:
            raise GateClosed("The database did not answer when the request was about to leave.", wait=1.0) from error
        if admission is not None and admission.wait is not None:
            raise closed(self._key_label, admission.reason, admission.wait)
        self._tenth = admission and admission.permit
        self._stamped_at = asked_at + (admission.stamped_after if admission else 0.0)


def closed(key_label: str, reason: str | None, wait: float) -> GateClosed:
    """What it is called that a call may not be made now."""
    return GateClosed(f"The gate of {key_label} is closed: {reason}", wait=wait)
