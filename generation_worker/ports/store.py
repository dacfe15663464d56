"""What the worker needs of the database: one method for each statement of the protocol."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from generation_worker.domain.gate import BREAKER, BreakerPolicy
from generation_worker.domain.job import Job, Place, Status
from generation_worker.domain.settlement import Settlement
from generation_worker.ports.adapters import StoredObject
from generation_worker.ports.calls import Admission, CallBegun, CallReport, GateNews, Staged
from generation_worker.ports.fleet import FleetNews, WorkerCard
from generation_worker.ports.leases import Claim, Expiry, Key, Promotion, Reclaim, Renewal, Suspect


class Store(Protocol):
    """The statements of the protocol. Each method raises StoreUnavailable when the database does not answer."""

    def claim_jobs(
        self,
        worker: str,
        marks: Mapping[str, Place],
        *,
        keys: Sequence[Key] = (),
        slots: int,
        lease: float,
        max_attempts: int,
        left_out: Sequence[str] = (),
        rehearse: str | None = None,
    ) -> Claim:
        """Claim up to ``slots`` jobs from the lanes in ``marks``, each from its mark on, for ``lease`` seconds.

        Lanes whose providers have ``keys`` give no more than these have permits for. Jobs in ``left_out`` are passed
        over. With ``rehearse`` it is as if that job alone were there, and nothing of what is done lasts.
        """
        ...

    def find_suspects(self, marks: Mapping[str, Place], *, limit: int, left_out: Sequence[str]) -> list[Suspect]:
        """The jobs over which a claim for ``limit`` of them may have failed."""
        ...

    def renew_leases(
        self, leases: Sequence[tuple[str, str]], *, lease: float, timeout: float, grace: float
    ) -> dict[str, Renewal]:
        """Renew the leases (job id, token); the answer says which still hold, by the ids of their jobs."""
        ...

    def settle_attempts(self, settlements: Sequence[tuple[Job, Settlement]]) -> dict[str, Status]:
        """Write settlements together; the answer holds the new status of each job whose lease still held."""
        ...

    def reclaim_jobs(self, *, limit: int, lease: float) -> list[Reclaim]: ...

    def promote_jobs(self, *, limit: int) -> Promotion: ...

    def move_jobs(self, *, limit: int) -> int:
        """Move jobs to their second provider where every breaker of the first is open; how many."""
        ...

    def expire_jobs(self, *, limit: int) -> list[Expiry]: ...

    def prune_jobs(self, *, retention: float, limit: int) -> int: ...

    def begin_call(self, job: Job, *, provider: str, key_label: str, max_paid_calls: int) -> CallBegun: ...

    def renew_permit(self, job: Job, number: int, *, key_label: str, permit: int) -> Admission | None:
        """Stamp the permit with this moment; None if the key has no gate."""
        ...

    def remember_call(self, job: Job, number: int, provider_ref: str) -> None: ...

    def return_permit(self, job: Job) -> None:
        """Give back the permit of the job's claim if no call was begun with it."""
        ...

    def finish_call(
        self, job: Job, number: int, report: CallReport, *, policy: BreakerPolicy = BREAKER
    ) -> GateNews | None:
        """Record the call's end; what that has changed at its gate, if anything."""
        ...

    def stage_image(self, job: Job, staged: Staged) -> bool:
        """Keep the image until it is stored; False if the job is over."""
        ...

    def find_staged(self, job: Job) -> Staged | None: ...

    def discard_staged(self, job: Job) -> None: ...

    def prune_staged(self, *, limit: int) -> int: ...

    def claim_task(self, name: str, *, every: float) -> bool: ...

    def finish_task(self, name: str, *, error: str | None) -> None: ...

    def read_cursor(self, name: str) -> str | None:
        """How far a task of many runs has come; None: begin at the start."""
        ...

    def save_cursor(self, name: str, cursor: str | None) -> None: ...

    def save_findings(self, name: str, found: Mapping[str, Any]) -> None: ...

    def find_orphans(self, objects: Sequence[tuple[str, StoredObject]], *, age: float) -> list[str]:
        """Of ``objects`` with the ids of their jobs, the keys older than ``age`` seconds that nobody will ask for."""
        ...

    def find_stale_uploads(self, uploads: Sequence[StoredObject], *, age: float) -> list[str]:
        """The keys of those older than ``age`` seconds that no job which waits or runs names."""
        ...

    def note_swept(self, keys: Sequence[str]) -> None:
        """Remember that these uploads are deleted."""
        ...

    def prune_swept(self, *, retention: float, limit: int) -> int:
        """Forget at most ``limit`` uploads that were deleted before the retention (seconds) began; how many."""
        ...

    def register_worker(self, card: WorkerCard) -> None: ...

    def touch_worker(self, card: WorkerCard, *, busy: int, stuck: int, known: str = "") -> FleetNews | None:
        """Say that the worker lives; what it is to follow, if that is not the version ``known``."""
        ...

    def hold_jobs(self, *, limit: int) -> int:
        """Put paused jobs aside that stand among the first ``limit`` of a lane; how many."""
        ...

    def free_jobs(self, *, limit: int) -> int:
        """Give held jobs their places back that are not paused any more; how many."""
        ...

    def set_asleep(self, worker: str, *, asleep: bool) -> None: ...

    def remove_worker(self, worker: str) -> None: ...

    def send_message(self, message: str) -> None:
        """Tell every worker that listens, this one too."""
        ...
