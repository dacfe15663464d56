"""A store, signals and a clock that do what a test tells them, and remember what they were asked."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn

from generation_worker.domain.gate import BREAKER, BreakerPolicy
from generation_worker.domain.job import ClaimCursor, Job, Status
from generation_worker.domain.settlement import Settlement
from generation_worker.events import Events
from generation_worker.ports import (
    Admission,
    CallBegun,
    CallReport,
    Claim,
    Expiry,
    FleetState,
    GateChange,
    Key,
    Promotion,
    Reclaim,
    Renewal,
    Staged,
    StoredObject,
    StoreUnavailable,
    Suspect,
    WorkerInfo,
)
from generation_worker.worker.lease import Lease
from generation_worker.worker.settings import WorkerSettings
from tests.domain.jobs import a_job

NO_CLAIM = Claim([], [])
RENEWED = Renewal(True, cancel_requested=False)
Step = Callable[..., Any]


class Clock:
    """Time that passes when told."""

    def __init__(self, now: float = 1000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += seconds


class Told:
    """Remembers events; a listener that can be asked what happened."""

    def __init__(self, events: Events) -> None:
        self.events: list[tuple[str, dict[str, Any]]] = []
        events.subscribe(lambda name, fields: self.events.append((name, fields)))

    @property
    def names(self) -> list[str]:
        return [name for name, _ in self.events]

    def fields(self, name: str) -> dict[str, Any]:
        """The fields of the last event of this name."""
        return next(fields for known, fields in reversed(self.events) if known == name)


class ScriptedStore:
    """Each method gives the next answer of its script, or else its usual one. An answer that is an exception is raised,
    one that is a function is called with the method's arguments.
    """

    def __init__(self) -> None:
        self.asked: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = []
        self._script: dict[str, list[Any]] = {}

    def answer(self, method: str, *answers: Any) -> None:
        """Append answers to a method's script."""
        self._script.setdefault(method, []).extend(answers)

    def calls(self, method: str) -> list[tuple[tuple[Any, ...], dict[str, Any]]]:
        return [(args, kwargs) for name, args, kwargs in self.asked if name == method]

    def _next(self, method: str, usual: Any, *args: Any, **kwargs: Any) -> Any:
        self.asked.append((method, args, kwargs))
        script = self._script.get(method)
        answer = script.pop(0) if script else usual
        if isinstance(answer, BaseException):
            raise answer
        return answer(*args, **kwargs) if callable(answer) else answer

    def claim_jobs(
        self,
        worker: str,
        marks: Mapping[str, ClaimCursor],
        *,
        keys: Sequence[Key] = (),
        slots: int,
        lease: float,
        max_attempts: int,
        left_out: Sequence[str] = (),
        rehearse: str | None = None,
    ) -> Claim:
        named = {"keys": keys, "slots": slots, "lease": lease, "max_attempts": max_attempts}
        more = {"left_out": list(left_out), "rehearse": rehearse}
        return self._next("claim_jobs", NO_CLAIM, worker, dict(marks), **named, **more)

    def find_suspects(self, marks: Mapping[str, ClaimCursor], *, limit: int, left_out: Sequence[str]) -> list[Suspect]:
        return self._next("find_suspects", [], dict(marks), limit=limit, left_out=list(left_out))

    def renew_leases(
        self, leases: Sequence[tuple[str, str]], *, lease: float, timeout: float, grace: float
    ) -> dict[str, Renewal]:
        held = {job_id: RENEWED for job_id, _ in leases}
        return self._next("renew_leases", held, leases, lease=lease, timeout=timeout, grace=grace)

    def settle_attempts(self, settlements: Sequence[tuple[Job, Settlement]]) -> dict[str, Status]:
        usual = {job.id: settlement.status for job, settlement in settlements}
        return self._next("settle_attempts", usual, list(settlements))

    def reclaim_jobs(self, *, limit: int, lease: float) -> list[Reclaim]:
        return self._next("reclaim_jobs", [], limit=limit, lease=lease)

    def promote_jobs(self, *, limit: int) -> Promotion:
        return self._next("promote_jobs", Promotion(0, None), limit=limit)

    def expire_jobs(self, *, limit: int) -> list[Expiry]:
        return self._next("expire_jobs", [], limit=limit)

    def move_jobs(self, *, limit: int) -> int:
        return self._next("move_jobs", 0, limit=limit)

    def prune_jobs(self, *, retention: float, limit: int) -> int:
        return self._next("prune_jobs", 0, retention=retention, limit=limit)

    def begin_call(self, job: Job, *, provider: str, key_label: str, max_paid_calls: int) -> CallBegun:
        number = len(self.calls("begin_call")) + 1
        usual = CallBegun(True, False, number - 1, number)
        return self._next(
            "begin_call", usual, job, provider=provider, key_label=key_label, max_paid_calls=max_paid_calls
        )

    def remember_call(self, job: Job, number: int, provider_ref: str) -> None:
        self._next("remember_call", None, job, number, provider_ref)

    def renew_permit(self, job: Job, number: int, *, key_label: str, permit: int) -> Admission | None:
        return self._next("renew_permit", None, job, number, key_label=key_label, permit=permit)

    def return_permit(self, job: Job) -> None:
        self._next("return_permit", None, job)

    def finish_call(
        self,
        job: Job,
        number: int,
        report: CallReport,
        *,
        policy: BreakerPolicy = BREAKER,
    ) -> GateChange | None:
        return self._next("finish_call", None, job, number, report, policy=policy)

    def stage_image(self, job: Job, staged: Staged) -> bool:
        return self._next("stage_image", True, job, staged)

    def find_staged(self, job: Job) -> Staged | None:
        return self._next("find_staged", None, job)

    def discard_staged(self, job: Job) -> None:
        self._next("discard_staged", None, job)

    def prune_staged(self, *, limit: int) -> int:
        return self._next("prune_staged", 0, limit=limit)

    def claim_task(self, name: str, *, every: float) -> bool:
        return self._next("claim_task", False, name, every=every)

    def finish_task(self, name: str, *, error: str | None) -> None:
        self._next("finish_task", None, name, error=error)

    def read_cursor(self, name: str) -> str | None:
        return self._next("read_cursor", None, name)

    def save_cursor(self, name: str, cursor: str | None) -> None:
        self._next("save_cursor", None, name, cursor)

    def save_findings(self, name: str, found: Mapping[str, Any]) -> None:
        self._next("save_findings", None, name, found)

    def find_orphans(self, objects: Sequence[tuple[str, StoredObject]], *, age: float) -> list[str]:
        return self._next("find_orphans", [], objects, age=age)

    def find_stale_uploads(self, uploads: Sequence[StoredObject], *, age: float) -> list[str]:
        return self._next("find_stale_uploads", [], uploads, age=age)

    def note_swept(self, keys: Sequence[str]) -> None:
        self._next("note_swept", None, keys)

    def prune_swept(self, *, retention: float, limit: int) -> int:
        return self._next("prune_swept", 0, retention=retention, limit=limit)

    def register_worker(self, card: WorkerInfo) -> None:
        self._next("register_worker", None, card)

    def touch_worker(self, card: WorkerInfo, *, busy: int, stuck: int, known: str = "") -> FleetState | None:
        return self._next("touch_worker", None, card, busy=busy, stuck=stuck, known=known)

    def park_paused_jobs(self, *, limit: int) -> int:
        return self._next("park_paused_jobs", 0, limit=limit)

    def unpark_jobs(self, *, limit: int) -> int:
        return self._next("unpark_jobs", 0, limit=limit)

    def set_asleep(self, worker: str, *, asleep: bool) -> None:
        self._next("set_asleep", None, worker, asleep=asleep)

    def remove_worker(self, worker: str) -> None:
        self._next("remove_worker", None, worker)

    def send_message(self, message: str) -> None:
        self._next("send_message", None, message)


class ScriptedSignals:
    """Hears its own messages (unless deaf), and what a test puts into `heard`: messages, or an exception to raise."""

    def __init__(self, *, deaf: bool = False) -> None:
        self.deaf = deaf
        self.opened = 0
        self.closed = 0
        self.heard: list[str | BaseException] = []

    def open(self) -> None:
        self.opened += 1

    def send(self, message: str) -> None:
        if not self.deaf:
            self.heard.append(message)

    def wait(self, seconds: float) -> list[str]:
        if not self.heard:
            return []
        message = self.heard.pop(0)
        if isinstance(message, BaseException):
            raise message
        return [message]

    def close(self) -> None:
        self.closed += 1


def unavailable(*_: Any, **__: Any) -> NoReturn:
    raise StoreUnavailable("the database does not answer")


def jobs(number: int, *, provider: str = "local", first: int = 1, **changes: Any) -> list[Job]:
    """Jobs in the order of their places."""
    return [
        a_job(
            id=f"job-{n}",
            provider=provider,
            lease_token=f"token-{n}",
            cursor=ClaimCursor(0, f"2026-01-01T00:00:{n:02}+00:00", f"job-{n}"),
            **changes,
        )
        for n in range(first, first + number)
    ]


def settings(**changes: Any) -> WorkerSettings:
    known: dict[str, Any] = {"id": "worker-1", "version": "0", "concurrency": 4, "providers": ("local",)}
    return WorkerSettings(**(known | changes))


def lease(
    job: Job | None = None, *, clock: Clock | None = None, timeout: float = 600.0, duration: float = 60.0
) -> Lease:
    clock = clock or Clock()
    return Lease(job or a_job(), claimed_at=clock(), duration=duration, timeout=timeout, clock=clock)
