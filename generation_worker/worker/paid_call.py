"""One paid call: recorded before it is made, finished after it, and resumed if an earlier attempt began it.

``PaidCalls`` begins calls, ``PaidCall`` is one of them and the provider's view of its attempt, and ``Permit`` is the
right to make it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

from generation_worker import ports
from generation_worker.domain import errors
from generation_worker.domain.gate import FRESH, BreakerPolicy, verdict_of
from generation_worker.domain.job import Job
from generation_worker.events import Events
from generation_worker.worker.lease import Clock, Lease
from generation_worker.worker.signals import HintSubscription, ProviderHints

WAIT_FOR_KEY_HOLDER = 10.0
"""Seconds that a job waits for the worker that holds the key of its call."""


class ProviderKeys:
    """The adapters of a worker, one for each key of a provider. The preferred provider comes first."""

    def __init__(self, adapters: Sequence[ports.Provider]) -> None:
        self._adapters: dict[str, dict[str, ports.Provider]] = {}
        for adapter in adapters:
            self._adapters.setdefault(adapter.name, {})[adapter.key_label] = adapter

    @property
    def providers(self) -> tuple[str, ...]:
        return tuple(self._adapters)

    def find(self, provider: str, key_label: str | None) -> ports.Provider | None:
        """The adapter with this key; the provider's first one if ``key_label`` is None or not held here."""
        by_key = self._adapters.get(provider, {})
        return by_key.get(key_label or "") or next(iter(by_key.values()), None)

    def has(self, provider: str, key_label: str) -> bool:
        return key_label in self._adapters.get(provider, {})


@dataclass(frozen=True, slots=True)
class PaidCalls:
    """Begins paid calls. It keeps nothing between them."""

    store: ports.Store
    events: Events
    keys: ProviderKeys
    max_paid_calls: int
    breaker: BreakerPolicy
    hints: ProviderHints = field(default_factory=ProviderHints)

    def make(self, lease: Lease, request: ports.GenerationRequest) -> tuple[PaidCall, ports.Generated]:
        """One answer by one call; by another call, within the bound, if the provider has lost the answer it kept."""
        lost: str | None = None
        while True:
            call = self._begin(lease)
            try:
                return call, call.make(request)
            except errors.CallLost:
                if call.resume in (None, lost):
                    raise
                lost = call.resume

    def _begin(self, lease: Lease) -> PaidCall:
        lease.check()
        job = lease.job
        provider = self.keys.find(job.provider, job.key_label)
        if provider is None:
            raise errors.ProviderNotConfigured(f"This worker has no provider {job.provider!r}.")
        sent_at = time.monotonic()
        begun = self.store.begin_call(
            job, provider=provider.name, key_label=provider.key_label, max_paid_calls=self.max_paid_calls
        )
        self._check_begun(begun, provider)
        if begun.resume is not None:
            provider = self._key_holder(provider, begun)
            self.events.emit("call.resumed", **job.tags, number=begun.number)
        finish = partial(self._finish, job)
        return PaidCall(
            lease,
            self.store,
            self.events,
            begun,
            provider=provider,
            sent_at=sent_at,
            hints=self.hints,
            finish=finish,
        )

    def _check_begun(self, begun: ports.CallBegun, provider: ports.Provider) -> None:
        """Raises LeaseLost, CancelRequested, GateClosed or PaidCallsExhausted if the call must not be made."""
        if not begun.held:
            raise errors.LeaseLost
        if begun.cancel_requested:
            raise errors.CancelRequested
        if begun.wait is not None:
            raise _gate_closed(provider.key_label, begun.reason, begun.wait)
        if begun.number is None:
            raise errors.PaidCallsExhausted(
                f"{begun.paid} calls were or may have been paid; no more are allowed for one job."
            )

    def _key_holder(self, provider: ports.Provider, begun: ports.CallBegun) -> ports.Provider:
        """The adapter with the key that the call was made with: only that key can fetch the kept answer.

        Raises GateClosed if another worker holds it. A key that no worker holds was replaced, most likely by another
        one of the same account, so any key is tried then.
        """
        label = begun.key_label or provider.key_label
        if not self.keys.has(provider.name, label) and begun.key_is_held:
            raise errors.GateClosed(
                f"The answer is kept for the key {label}, which another worker holds.", wait=WAIT_FOR_KEY_HOLDER
            )
        return self.keys.find(provider.name, label) or provider

    def _finish(self, job: Job, number: int, report: ports.CallReport) -> ports.GateChange | None:
        """Record the end even while the gate's row is locked; the next call reports the same verdict to the gate."""
        try:
            return self.store.finish_call(job, number, report, policy=self.breaker)
        except ports.StoreBusy:
            return self.store.finish_call(job, number, replace(report, verdict=None), policy=self.breaker)


ANSWER_MAY_BE_KEPT = (errors.AttemptTimedOut, errors.ProviderRefused, errors.InternalError)
"""Errors after which the provider may still have the image: the call stays open for the next attempt."""
RETRY_WRITE_EVERY = 5.0
"""Seconds: the longest pause while the provider's id is not written, because a crash would lose what is paid."""

Finish = Callable[[int, ports.CallReport], ports.GateChange | None]


class PaidCall:
    """A call that is recorded under ``number``, and the provider's control over the attempt while it runs.

    A call continues while the database does not answer: it is paid already, and another attempt would pay again.
    """

    def __init__(
        self,
        lease: Lease,
        store: ports.Store,
        events: Events,
        begun: ports.CallBegun,
        *,
        provider: ports.Provider,
        sent_at: float,
        hints: ProviderHints,
        finish: Finish,
    ) -> None:
        """``sent_at`` is when the statement that began the call was sent; ``finish`` records the call's end."""
        assert begun.number is not None
        self.number = begun.number
        self.resume = begun.resume
        self._provider = provider
        self._lease = lease
        self._store = store
        self._events = events
        stamped_at = sent_at + begun.stamped_after
        self._permit = Permit(
            store, lease.job, key_label=provider.key_label, decisecond=begun.permit, stamped_at=stamped_at
        )
        self._hints = HintSubscription(hints, lease.wake)
        self._finish = finish
        self._started = time.monotonic()
        self._ref = begun.resume
        self._ref_is_written = True

    def make(self, request: ports.GenerationRequest) -> ports.Generated:
        """Raises what the provider raises. The end of the call is recorded in each case."""
        try:
            generated = self._provider.generate(replace(request, resume=self.resume), self)
        except BaseException as error:
            self._emit_finished(error=error)
            self._end(error)
            raise
        self._emit_finished(generated.model)
        self._report(True, generated=generated)
        return generated

    def reject(self, error: errors.JobError) -> None:
        """Record that the paid answer cannot be used, so that no later attempt fetches it again."""
        self._events.emit("answer.rejected", **self._lease.job.tags, error=str(error))
        self._report(True, error)

    # the control that the provider gets

    def check(self) -> None:
        self._lease.check(proof=False)

    def seconds_left(self) -> float:
        return self._lease.seconds_left()

    def pause(self, seconds: float, *, wake_on: str | None = None) -> None:
        if wake_on is None:
            return self._pause(seconds, lambda: False)
        with self._hints.open(wake_on) as has_hint:
            self._pause(seconds, has_hint)
        if self._hints.acknowledge(wake_on):
            self._events.emit("call.noticed", **self._lease.job.tags, number=self.number)
        return None

    def admit(self) -> None:
        self._permit.freshen(self.number)

    def remember(self, provider_ref: str) -> None:
        self._ref, self._ref_is_written = provider_ref, False
        self._write_ref()

    def _pause(self, seconds: float, enough: Callable[[], bool]) -> None:
        while True:
            self._write_ref()
            step = seconds if self._ref_is_written else min(seconds, RETRY_WRITE_EVERY)
            self._lease.pause(step, proof=False, enough=enough)
            seconds -= step
            if seconds <= 0 or enough():
                return

    def _write_ref(self) -> None:
        if self._ref is None or self._ref_is_written:
            return
        try:
            self._store.remember_call(self._lease.job, self.number, self._ref)
            self._ref_is_written = True
        except Exception as error:  # noqa: BLE001 - a text that no row can hold must not cost a paid image
            self._emit_unrecorded(error)

    # the end of the call

    def _end(self, error: BaseException) -> None:
        is_final = isinstance(error, errors.JobError | errors.CancelRequested) and not isinstance(
            error, ANSWER_MAY_BE_KEPT
        )
        if self._ref is not None and not is_final:
            self._write_ref()  # the call stays open, and the next attempt resumes it
        else:
            self._report(_spent(error), error)

    def _report(
        self, spent: bool | None, error: BaseException | None = None, generated: ports.Generated | None = None
    ) -> None:
        is_job_error = isinstance(error, errors.JobError)
        report = ports.CallReport(
            milliseconds=self._milliseconds(),
            spent=spent,
            error_code=error.code if is_job_error else error and type(error).__name__,
            model=generated and generated.model,
            provider_ref=(generated and generated.provider_ref) or self._ref,
            usage=generated and generated.usage,
            verdict=verdict_of(error),
            wait=error.wait if isinstance(error, errors.ProviderLimited) else None,
            reason=error.message if is_job_error else None,
        )
        try:
            change = self._finish(self.number, report)
        except Exception as fault:  # noqa: BLE001 - a text that no row can hold must not cost a paid image
            # The image matters more than the record. A call without an end counts as paid, which is the safe side.
            self._emit_unrecorded(fault)
        else:
            self._apply(change, error)

    def _apply(self, change: ports.GateChange | None, error: BaseException | None) -> None:
        """Emit how the gate has changed, and let the job wait for it only if there is no alternative."""
        if change is None:
            return
        if isinstance(error, errors.ProviderLimited | errors.ProviderRefused):
            error.wait = 0.0 if change.has_alternative else max(error.wait or 0.0, change.closed_for or 0.0)
        if change.breaker != change.breaker_before:
            name = "breaker.closed" if change.breaker == "closed" else "breaker.opened"
        elif isinstance(error, errors.ProviderLimited):
            name = "gate.closed"
        else:
            return
        seconds = None if name == "breaker.closed" else change.closed_for
        self._events.emit(name, key=self._provider.key_label, seconds=seconds, error=str(error) if error else None)

    def _emit_finished(self, model: str | None = None, error: BaseException | None = None) -> None:
        self._events.emit(
            "call.finished",
            **self._lease.job.tags,
            provider=self._provider.name,
            model=model,
            outcome=_outcome_of_call(error),
            milliseconds=self._milliseconds(),
        )

    def _emit_unrecorded(self, error: Exception) -> None:
        self._events.emit("call.unrecorded", **self._lease.job.tags, error=str(error))

    def _milliseconds(self) -> int:
        return round((time.monotonic() - self._started) * 1000)


def _outcome_of_call(error: BaseException | None) -> str:
    """``ok``, the error's code, or ``stopped`` if the worker did not wait for the end."""
    if error is None:
        return "ok"
    if isinstance(error, errors.AttemptStopped):
        return "stopped"
    return error.code if isinstance(error, errors.JobError) else errors.InternalError.code


def _spent(error: BaseException) -> bool | None:
    """Whether the call was paid; None if that is not known, because no answer came, or none that shows it."""
    if not isinstance(error, errors.JobError):
        return None
    no_answer = isinstance(error, errors.ProviderTimedOut | errors.ProviderUnavailable) and error.spent
    return None if no_answer or isinstance(error, errors.AttemptTimedOut) else error.spent


MOST_RENEWALS = 3
"""If each renewal takes longer than a permit stays fresh, the last stamp is used: renewing must end."""


class Permit:
    """The right to one call of a limited key, for the moment in which the call's request is sent.

    The database stamped it at ``stamped_at`` or later. ``decisecond`` is None for a key without a limit.
    """

    def __init__(
        self,
        store: ports.Store,
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
        """Renew the permit of the call with this number if its stamp is old. Raises GateClosed."""
        for _ in range(MOST_RENEWALS):
            if self._decisecond is None or self._clock() - self._stamped_at <= FRESH:
                return
            self._renew(number, self._decisecond)

    def _renew(self, number: int, decisecond: int) -> None:
        sent_at = self._clock()
        try:
            admission = self._store.renew_permit(self._job, number, key_label=self._key_label, permit=decisecond)
        except ports.StoreUnavailable as error:
            raise errors.GateClosed("The database did not answer just before the request.", wait=1.0) from error
        if admission is not None and admission.wait is not None:
            raise _gate_closed(self._key_label, admission.reason, admission.wait)
        self._decisecond = admission and admission.permit
        self._stamped_at = sent_at + (admission.stamped_after if admission else 0.0)


def _gate_closed(key_label: str, reason: str | None, wait: float) -> errors.GateClosed:
    return errors.GateClosed(f"The gate of {key_label} is closed: {reason}", wait=wait)
