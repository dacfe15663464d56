"""One paid call: recorded before it is made, remembered while it runs, finished after it."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

from generation_worker.domain.errors import (
    AttemptTimedOut,
    CallLost,
    CancelRequested,
    InternalError,
    JobError,
    LeaseLost,
    PaidCallsExhausted,
    ProviderRefused,
    ProviderTimedOut,
    ProviderUnavailable,
)
from generation_worker.events import Events
from generation_worker.ports import (
    CallBegun,
    CallReport,
    Generated,
    GenerationRequest,
    Provider,
    Store,
)
from generation_worker.worker.lease import Lease

NOT_ITS_END = (AttemptTimedOut, ProviderRefused, InternalError)
"""Errors that say nothing of the picture: what the provider was asked for may still be had there."""


class PaidCall:
    """A call that is recorded under ``number``, and the provider's view of the attempt while it is made.

    A call goes on while the database is silent: it is paid already, and would be paid again.
    """

    def __init__(self, lease: Lease, store: Store, events: Events, begun: CallBegun) -> None:
        assert begun.number is not None
        self.number = begun.number
        self.resume = begun.resume
        self._lease = lease
        self._store = store
        self._events = events
        self._started = time.monotonic()
        self._ref = begun.resume
        self._ref_is_written = True

    def check(self) -> None:
        self._lease.check(proof=False)

    def seconds_left(self) -> float:
        return self._lease.seconds_left()

    def pause(self, seconds: float) -> None:
        self._write_ref()
        self._lease.pause(seconds, proof=False)

    def remember(self, provider_ref: str) -> None:
        self._ref, self._ref_is_written = provider_ref, False
        self._write_ref()

    def make(self, provider: Provider, request: GenerationRequest) -> Generated:
        """Raises what the provider raises; however the call ends, that is recorded."""
        try:
            generated = provider.generate(replace(request, resume=self.resume), self)
        except BaseException as error:
            self._end(error)
            raise
        self.finish(True, generated=generated)
        return generated

    def finish(self, spent: bool | None, error_code: str | None = None, generated: Generated | None = None) -> None:
        report = CallReport(
            milliseconds=round((time.monotonic() - self._started) * 1000),
            spent=spent,
            error_code=error_code,
            model=generated and generated.model,
            provider_ref=(generated and generated.provider_ref) or self._ref,
            usage=generated and generated.usage,
        )
        try:
            self._store.finish_call(self._lease.job, self.number, report)
        except Exception as error:  # noqa: BLE001 - nor may words of the provider that no row can hold cost an image
            # The image matters more than the note; a call without its end counts as paid, which errs on the safe side.
            self._unrecorded(error)

    def _end(self, error: BaseException) -> None:
        is_its_end = isinstance(error, JobError | CancelRequested) and not isinstance(error, NOT_ITS_END)
        if self._ref is not None and not is_its_end:
            self._write_ref()  # without an end: the next attempt takes it up
        elif isinstance(error, JobError):
            self.finish(_spent(error), error.code)
        else:
            self.finish(None, type(error).__name__)

    def _write_ref(self) -> None:
        if self._ref is None or self._ref_is_written:
            return
        try:
            self._store.remember_call(self._lease.job, self.number, self._ref)
            self._ref_is_written = True
        except Exception as error:  # noqa: BLE001 - as above
            self._unrecorded(error)

    def _unrecorded(self, error: Exception) -> None:
        job = self._lease.job
        self._events.emit("call.unrecorded", job=job.id, user=job.user_id, error=str(error))


def _spent(error: JobError) -> bool | None:
    """None while nobody knows: no answer came, or none that says it."""
    silent = isinstance(error, ProviderTimedOut | ProviderUnavailable) and error.spent
    return None if silent or isinstance(error, AttemptTimedOut) else error.spent


@dataclass(frozen=True, slots=True)
class PaidCalls:
    """Begins calls, or takes up those that an earlier attempt began."""

    store: Store
    events: Events
    max_paid_calls: int

    def make(self, lease: Lease, provider: Provider, request: GenerationRequest) -> tuple[PaidCall, Generated]:
        """One answer, by one call; by another one, within the bound, if the provider has lost what it kept for us."""
        lost: str | None = None
        while True:
            call = self._begin(lease, provider)
            try:
                return call, call.make(provider, request)
            except CallLost:
                if call.resume in (None, lost):
                    raise
                lost = call.resume

    def _begin(self, lease: Lease, provider: Provider) -> PaidCall:
        lease.check()
        begun = self.store.begin_call(
            lease.job, provider=provider.name, key_label=provider.key_label, max_paid_calls=self.max_paid_calls
        )
        if not begun.held:
            raise LeaseLost
        if begun.cancel_requested:
            raise CancelRequested
        if begun.number is None:
            raise PaidCallsExhausted(f"{begun.paid} calls were or may have been paid; no more are allowed for one job.")
        if begun.resume is not None:
            self.events.emit("call.resumed", job=lease.job.id, user=lease.job.user_id, number=begun.number)
        return PaidCall(lease, self.store, self.events, begun)
