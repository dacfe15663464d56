"""Where images go: into the storage, or, when they are paid for and it does not take them, into the database."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from tenacity import Retrying, retry_if_exception_type, wait_exponential

from generation_worker.domain.errors import (
    AttemptTimedOut,
    CancelRequested,
    LeaseLost,
    ShuttingDown,
    StorageUnavailable,
)
from generation_worker.domain.job import Job
from generation_worker.events import Events
from generation_worker.ports import Picture, Rendered, Staged, Storage, Store, StoreUnavailable
from generation_worker.worker.image_keys import describe, image_key, thumbnail_key
from generation_worker.worker.lease import Lease

PATIENCE = 20.0
"""Seconds for which a storage is tried before a paid image is staged, and the thread is free for other jobs."""
LARGEST_STAGED = 10_000_000
"""Bytes, as the table has it. What is larger is kept in memory, and the storage tried until the attempt's deadline."""


@dataclass(frozen=True, slots=True)
class ImageStore:
    store: Store
    storage: Storage
    events: Events

    def put(self, lease: Lease, rendered: Rendered, *, patience: float = float("inf")) -> dict[str, Any]:
        """Keep the image under a key of this attempt's own. The thumbnail goes first: an image is never alone.

        Raises StorageUnavailable after ``patience`` seconds, and what ``Lease.check`` raises.
        """
        began = lease.elapsed()
        until = began + patience
        thumbnail = None
        if rendered.thumbnail is not None:
            thumbnail = thumbnail_key(lease.job)
            self._put(lease, thumbnail, rendered.thumbnail, until)
        key = image_key(lease.job, rendered.image.content_type)
        self._put(lease, key, rendered.image, until)
        self._say_stored(lease, rendered, lease.elapsed() - began)
        return describe(key, rendered.image, thumbnail)

    def put_paid(self, lease: Lease, rendered: Rendered, paid: Staged, *, staged: bool) -> dict[str, Any]:
        """As ``put``, but paid bytes are not thrown away because the storage has a bad hour: they are staged, or kept
        in memory as long as the database does not take them either. ``staged``: that is where they come from.
        """
        while True:
            try:
                stored = self.put(lease, rendered, patience=PATIENCE)
            except (StorageUnavailable, AttemptTimedOut, LeaseLost, ShuttingDown) as error:
                if staged or self.stage(lease.job, paid):
                    why = error.message if isinstance(error, StorageUnavailable) else "The attempt had to end."
                    raise StorageUnavailable(f"{why} The image is kept, and stored later.", kept=True) from error
                if not isinstance(error, StorageUnavailable):
                    raise
            except CancelRequested:
                raise
            except BaseException:
                # A fault of ours: whoever has the job next looks there.
                self.stage(lease.job, paid)
                raise
            else:
                if staged:
                    self.discard(lease.job)
                return stored

    def stage(self, job: Job, paid: Staged) -> bool:
        """Whether the database has the image now."""
        if len(paid.data) > LARGEST_STAGED:
            return False
        try:
            staged = self.store.stage_image(job, paid)
        except StoreUnavailable:
            return False
        if staged:
            self.events.emit("image.staged", **job.tags, bytes=len(paid.data))
        return staged

    def find(self, job: Job) -> Staged | None:
        """What an earlier attempt has staged. A first attempt does not ask: there was none before it."""
        return self.store.find_staged(job) if job.attempt > 1 or job.crashes else None

    def discard(self, job: Job) -> None:
        with suppress(StoreUnavailable):  # it is pruned when the job is over
            self.store.discard_staged(job)

    def _say_stored(self, lease: Lease, rendered: Rendered, seconds: float) -> None:
        self.events.emit("image.stored", **lease.job.tags, bytes=len(rendered.image.data), seconds=seconds)

    def _put(self, lease: Lease, key: str, picture: Picture, until: float) -> None:
        """Also while the database is silent: should the lease be lost by then, who has the job next finds the image."""
        for attempt in Retrying(
            retry=retry_if_exception_type(StorageUnavailable),
            wait=wait_exponential(multiplier=0.2, max=10),
            stop=lambda _: lease.elapsed() >= until or lease.seconds_left() <= 0,
            sleep=lambda seconds: lease.pause(seconds, proof=False),
            reraise=True,
        ):
            with attempt:
                lease.check(proof=False)
                self.storage.put(key, picture.data, picture.content_type)
