"""One paid call: remembered while it runs, finished after it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING

from generation_worker.domain.errors import (
    AttemptStopped,
    AttemptTimedOut,
    CallLost,
    CancelRequested,
    GateClosed,
    InternalError,
    JobError,
    LeaseLost,
    PaidCallsExhausted,
    ProviderLimited,
    ProviderNotConfigured,
    ProviderRefused,
    ProviderTimedOut,
    ProviderUnavailable,
)
from generation_worker.domain.gate import FRESH, BreakerPolicy, verdict_of
from generation_worker.domain.job import Job
from generation_worker.events import Events
from generation_worker.ports import (
    CallBegun,
    CallReport,
    GateChange,
    Generated,
    GenerationRequest,
    Provider,
    Store,
    StoreBusy,
    StoreUnavailable,
)
from generation_worker.worker.lease import Clock, Lease
from generation_worker.worker.signals import HintSubscription, ProviderHints

# The adapters that a worker holds, one for each key of a provider.


class ProviderKeys:
    """Finds an adapter by provider and key. Providers stand in the order of the worker's preference."""

    def __init__(self, adapters: Sequence[Provider]) -> None:
        self._of: dict[str, dict[str, Provider]] = {}
        for adapter in adapters:
            self._of.setdefault(adapter.name, {})[adapter.key_label] = adapter

    @property
    def providers(self) -> tuple[str, ...]:
        return tuple(self._of)

    def find(self, provider: str, key_label: str | None) -> Provider | None:
        """The adapter with this key; without a key to ask for, or if it is not held, the provider's first."""
        held = self._of.get(provider, {})
        return held.get(key_label or "") or next(iter(held.values()), None)

    def has(self, provider: str, key_label: str) -> bool:
        return key_label in self._of.get(provider, {})


# The right to one call of a limited key, for the moment in which the call's request leaves.


if TYPE_CHECKING:
    from generation_worker.domain.job import Job

MOST_RENEWALS = 3
"""A database that takes longer than a permit stays fresh is not asked for ever: its last stamp has to do."""


class Permit:
    """Stamped by the database at ``stamped_at`` or later; ``decisecond`` is None for a key without a limit."""

    def __init__(
        self,
        store: Store,
        job: Job,
        *,
        key_label: str,
        decisecond: int | None,
        stamped_at: float,
        clock: Clock = time.monotonic,
    ) -> None:
        self._store = store
        self._job = job
        self._key_label = key_label
        self._decisecond = decisecond
        self._stamped_at = stamped_at
        self._clock = clock

    def freshen(self, number: int) -> None:
        """See to it that the stamp of the call with this number is of this moment. Raises GateClosed."""
        for _ in range(MOST_RENEWALS):
            if self._decisecond is None or self._clock() - self._stamped_at <= FRESH:
                return
            self._renew(number, self._decisecond)

    def _renew(self, number: int, decisecond: int) -> None:
        asked_at = self._clock()
        try:
            admission = self._store.renew_permit(self._job, number, key_label=self._key_label, permit=decisecond)
        except StoreUnavailable as error:
            raise GateClosed("The database did not answer when the request was about to leave.", wait=1.0) from error
        if admission is not None and admission.wait is not None:
            raise closed(self._key_label, admission.reason, admission.wait)
        self._decisecond = admission and admission.permit
        self._stamped_at = asked_at + (admission.stamped_after if admission else 0.0)


def closed(key_label: str, reason: str | None, wait: float) -> GateClosed:
    """What it is called that a call may not be made now."""
    return GateClosed(f"The gate of {key_label} is closed: {reason}", wait=wait)


NOT_ITS_END = (AttemptTimedOut, ProviderRefused, InternalError)
"""Errors that say nothing of the picture: what the provider was asked for may still be had there."""
WRITE_AGAIN = 5.0
"""Seconds: no pause keeps an id unwritten for longer, since a crash would lose what is paid."""

Finish = Callable[[int, CallReport], GateChange | None]


class PaidCall:
    """A call that is recorded under ``number``, and the provider's view of the attempt while it is made.

    A call goes on while the database is silent: it is paid already, and would be paid again.
    """

    def __init__(
        self,
        lease: Lease,
        store: Store,
        events: Events,
        begun: CallBegun,
        *,
        provider: Provider,
        asked_at: float,
        notices: ProviderHints,
        finish: Finish,
    ) -> None:
        """``asked_at`` is when the database was asked to begin the call; ``finish`` writes its end."""
        assert begun.number is not None
        self.number = begun.number
        self.resume = begun.resume
        self._provider = provider
        self._lease = lease
        self._store = store
        self._events = events
        stamped_at = asked_at + begun.stamped_after
        self._permit = Permit(
            store, lease.job, key_label=provider.key_label, decisecond=begun.permit, stamped_at=stamped_at
        )
        self._hints = HintSubscription(notices, lease.rouse)
        self._finish = finish
        self._started = time.monotonic()
        self._ref = begun.resume
        self._ref_is_written = True

    def check(self) -> None:
        self._lease.check(proof=False)

    def seconds_left(self) -> float:
        return self._lease.seconds_left()

    def pause(self, seconds: float, *, wake_on: str | None = None) -> None:
        if wake_on is None:
            return self._pause(seconds, lambda: False)
        with self._hints.open(wake_on) as has_news:
            self._pause(seconds, has_news)
        if self._hints.acknowledge(wake_on):
            job = self._lease.job
            self._events.emit("call.noticed", **job.tags, number=self.number)
        return None

    def admit(self) -> None:
        self._permit.freshen(self.number)

    def remember(self, provider_ref: str) -> None:
        self._ref, self._ref_is_written = provider_ref, False
        self._write_ref()

    def make(self, request: GenerationRequest) -> Generated:
        """Raises what the provider raises; however the call ends, that is recorded."""
        try:
            generated = self._provider.generate(replace(request, resume=self.resume), self)
        except BaseException as error:
            self._say_finished(error=error)
            self._end(error)
            raise
        self._say_finished(generated.model)
        self._report(True, generated=generated)
        return generated

    def reject(self, error: JobError) -> None:
        """The answer that was paid for cannot be used: nobody needs to ask for it again."""
        job = self._lease.job
        self._events.emit("answer.rejected", **job.tags, error=str(error))
        self._report(True, error)

    def _pause(self, seconds: float, enough: Callable[[], bool]) -> None:
        while True:
            self._write_ref()
            step = seconds if self._ref_is_written else min(seconds, WRITE_AGAIN)
            self._lease.pause(step, proof=False, enough=enough)
            seconds -= step
            if seconds <= 0 or enough():
                return

    def _say_finished(self, model: str | None = None, error: BaseException | None = None) -> None:
        job = self._lease.job
        self._events.emit(
            "call.finished",
            **job.tags,
            provider=self._provider.name,
            model=model,
            outcome=_word_for(error),
            milliseconds=self._milliseconds(),
        )

    def _milliseconds(self) -> int:
        return round((time.monotonic() - self._started) * 1000)

    def _end(self, error: BaseException) -> None:
        is_its_end = isinstance(error, JobError | CancelRequested) and not isinstance(error, NOT_ITS_END)
        if self._ref is not None and not is_its_end:
            self._write_ref()  # without an end: the next attempt takes it up
        else:
            self._report(_spent(error), error)

    def _report(
        self, spent: bool | None, error: BaseException | None = None, generated: Generated | None = None
    ) -> None:
        of_ours = isinstance(error, JobError)
        report = CallReport(
            milliseconds=self._milliseconds(),
            spent=spent,
            error_code=error.code if of_ours else error and type(error).__name__,
            model=generated and generated.model,
            provider_ref=(generated and generated.provider_ref) or self._ref,
            usage=generated and generated.usage,
            verdict=verdict_of(error),
            wait=error.wait if isinstance(error, ProviderLimited) else None,
            reason=error.message if of_ours else None,
        )
        try:
            news = self._finish(self.number, report)
        except Exception as fault:  # noqa: BLE001 - nor may words of the provider that no row can hold cost an image
            # The image matters more than the note; a call without its end counts as paid, which errs on the safe side.
            self._unrecorded(fault)
        else:
            self._heed(error, news)

    def _heed(self, error: BaseException | None, news: GateChange | None) -> None:
        """Tell what the gate has become, and wait for it only if there is no other way."""
        if news is None:
            return
        if isinstance(error, ProviderLimited | ProviderRefused):
            error.wait = 0.0 if news.has_alternative else max(error.wait or 0.0, news.closed_for or 0.0)
        if news.breaker != news.breaker_before:
            name = "breaker.closed" if news.breaker == "closed" else "breaker.opened"
        elif isinstance(error, ProviderLimited):
            name = "gate.closed"
        else:
            return
        seconds = None if name == "breaker.closed" else news.closed_for
        self._events.emit(name, key=self._provider.key_label, seconds=seconds, error=str(error) if error else None)

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
        self._events.emit("call.unrecorded", **job.tags, error=str(error))


def _word_for(error: BaseException | None) -> str:
    """What came of the call: ok, the error's code, or stopped if it was we who did not wait for its end."""
    if error is None:
        return "ok"
    if isinstance(error, AttemptStopped):
        return "stopped"
    return error.code if isinstance(error, JobError) else InternalError.code


def _spent(error: BaseException) -> bool | None:
    """None while nobody knows: no answer came, or none that says it."""
    if not isinstance(error, JobError):
        return None
    silent = isinstance(error, ProviderTimedOut | ProviderUnavailable) and error.spent
    return None if silent or isinstance(error, AttemptTimedOut) else error.spent


# Begins paid calls: recorded before they are made, taken up again if an earlier attempt began one.


ELSEWHERE = 10.0
"""Seconds that a job is left to the worker that holds the key of its call."""


@dataclass(frozen=True, slots=True)
class PaidCalls:
    """What calls are made with; it keeps nothing between them."""

    store: Store
    events: Events
    keys: ProviderKeys
    max_paid_calls: int
    breaker: BreakerPolicy
    notices: ProviderHints = field(default_factory=ProviderHints)

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

    def _finish(self, job: Job, number: int, report: CallReport) -> GateChange | None:
        """What was paid is written even while somebody holds the gate; the next call will tell the gate the same."""
        try:
            return self.store.finish_call(job, number, report, policy=self.breaker)
        except StoreBusy:
            return self.store.finish_call(job, number, replace(report, verdict=None), policy=self.breaker)
