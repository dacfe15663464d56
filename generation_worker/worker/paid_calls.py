"""Begins paid calls: recorded before they are made, taken up again if an earlier attempt began one."""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from functools import partial

from generation_worker.domain.errors import (
    CallLost,
    CancelRequested,
    GateClosed,
    LeaseLost,
    PaidCallsExhausted,
    ProviderNotConfigured,
)
from generation_worker.domain.gate import BreakerPolicy
from generation_worker.domain.job import Job
from generation_worker.events import Events
from generation_worker.ports import (
    CallBegun,
    CallReport,
    GateNews,
    Generated,
    GenerationRequest,
    Provider,
    Store,
    StoreBusy,
)
from generation_worker.worker.keyring import KeyRing
from generation_worker.worker.lease import Lease
from generation_worker.worker.notices import Notices
from generation_worker.worker.paid_call import PaidCall
from generation_worker.worker.permit import closed

ELSEWHERE = 10.0
"""Seconds that a job is left to the worker that holds the key of its call."""


@dataclass(frozen=True, slots=True)
class PaidCalls:
    """What calls are made with; it keeps nothing between them."""

    store: Store
    events: Events
    keys: KeyRing
    max_paid_calls: int
    breaker: BreakerPolicy
    notices: Notices = field(default_factory=Notices)

    def make(self, lease: Lease, request: GenerationRequest) -> tuple[PaidCall, Generated]:
        """One answer, by one call; by another one, within the bound, if the provider has lost what it kept for us."""
        lost: str | None = None
        while True:
            call = self._begin(lease)
            try:
                return call, call.make(request)
            except CallLost:
                if call.resume in (None, lost):
                    raise
                lost = call.resume

    def _begin(self, lease: Lease) -> PaidCall:
        lease.check()
        job = lease.job
        provider = self.keys.find(job.provider, job.key_label)
        if provider is None:
            raise ProviderNotConfigured(f"This worker has no provider {job.provider!r}.")
        asked_at = time.monotonic()
        begun = self.store.begin_call(
            job, provider=provider.name, key_label=provider.key_label, max_paid_calls=self.max_paid_calls
        )
        self._see_that_it_may(begun, provider)
        if begun.resume is not None:
            provider = self._holder(provider, begun)
            self.events.emit("call.resumed", **job.tags, number=begun.number)
        finish = partial(self._finish, job)
        return PaidCall(
            lease,
            self.store,
            self.events,
            begun,
            provider=provider,
            asked_at=asked_at,
            notices=self.notices,
            finish=finish,
        )

    def _see_that_it_may(self, begun: CallBegun, provider: Provider) -> None:
        if not begun.held:
            raise LeaseLost
        if begun.cancel_requested:
            raise CancelRequested
        if begun.wait is not None:
            raise closed(provider.key_label, begun.reason, begun.wait)
        if begun.number is None:
            raise PaidCallsExhausted(f"{begun.paid} calls were or may have been paid; no more are allowed for one job.")

    def _holder(self, provider: Provider, begun: CallBegun) -> Provider:
        """Who can ask for the answer that is kept: the key that the call was made with. Raises GateClosed.

        If nobody holds that key any more it was replaced, most likely by another of the same account.
        """
        label = begun.key_label or provider.key_label
        if not self.keys.has(provider.name, label) and begun.key_is_held:
            raise GateClosed(f"The answer is kept for the key {label}, which another worker holds.", wait=ELSEWHERE)
        return self.keys.find(provider.name, label) or provider

    def _finish(self, job: Job, number: int, report: CallReport) -> GateNews | None:
        """What was paid is written even while somebody holds the gate; the next call will tell the gate the same."""
        try:
            return self.store.finish_call(job, number, report, policy=self.breaker)
        except StoreBusy:
            return self.store.finish_call(job, number, replace(report, verdict=None), policy=self.breaker)
