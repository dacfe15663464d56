"""Stores images: in the storage or, if they are paid for and the storage is not available, in the database."""

from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from tenacity import Retrying, retry_if_exception_type, wait_exponential

from generation_worker.domain import errors
from generation_worker.domain.job import Job
from generation_worker.events import Events
from generation_worker.ports import Picture, Rendered, Staged, Storage, Store, StoreUnavailable
from generation_worker.worker.image_keys import describe_image, image_key, thumbnail_key
from generation_worker.worker.lease import Lease

PATIENCE = 20.0
"""Seconds for which the storage is tried before a paid image is staged and the thread is free for other jobs."""
LARGEST_STAGED = 10_000_000
"""Bytes, as the table's bound. A larger image stays in memory, and the storage is tried until the deadline."""


@dataclass(frozen=True, slots=True)
class ImageStore:
    store: Store
    storage: Storage
    events: Events

    def put(self, lease: Lease, rendered: Rendered, *, patience: float = float("inf")) -> dict[str, Any]:
        """Store the image under a key of this attempt, and return its description.

        The thumbnail is stored first, so that no image is without its thumbnail. Raises StorageUnavailable after
        ``patience`` seconds, and what ``Lease.check`` raises.
        """
        began = lease.elapsed()
        until = began + patience
        thumbnail = None
        if rendered.thumbnail is not None:
            thumbnail = thumbnail_key(lease.job)
            self._put(lease, thumbnail, rendered.thumbnail, until)
        key = image_key(lease.job, rendered.image.content_type)
        self._put(lease, key, rendered.image, until)
        self.events.emit(
            "image.stored", **lease.job.tags, bytes=len(rendered.image.data), seconds=lease.elapsed() - began
        )
        return describe_image(key, rendered.image, thumbnail)

    def put_paid(self, lease: Lease, rendered: Rendered, paid: Staged, *, staged: bool) -> dict[str, Any]:
        """As ``put``, but paid bytes are not lost while the storage is not available: they are staged in the database.

        As long as the database does not take them either, they stay in memory and the storage is tried again.
        ``staged`` is true if they come from the database. Raises StorageUnavailable with ``kept`` once they are staged.
        """
        while True:
            try:
                stored = self.put(lease, rendered, patience=PATIENCE)
            except (errors.StorageUnavailable, errors.AttemptTimedOut, errors.LeaseLost, errors.ShuttingDown) as error:
                if staged or self.stage(lease.job, paid):
                    why = error.message if isinstance(error, errors.StorageUnavailable) else "The attempt had to end."
                    raise errors.StorageUnavailable(f"{why} The image is kept, and stored later.", kept=True) from error
                if not isinstance(error, errors.StorageUnavailable):
                    raise
            except errors.CancelRequested:
                raise
            except BaseException:
                self.stage(lease.job, paid)  # after a fault of the worker, the next attempt finds the image there
                raise
            else:
                if staged:
                    self.discard(lease.job)
                return stored

    def stage(self, job: Job, paid: Staged) -> bool:
        """Keep the image in the database; whether it is there now."""
        if len(paid.data) > LARGEST_STAGED:
            return False
        try:
            staged = self.store.stage_image(job, paid)
        except StoreUnavailable:
            return False
        if staged:
            self.events.emit("image.staged", **job.tags, bytes=len(paid.data))
        return staged

    def find_staged(self, job: Job) -> Staged | None:
        """The image that an earlier attempt has staged. A first attempt makes no query."""
        return self.store.find_staged(job) if job.attempt > 1 or job.crashes else None

    def discard(self, job: Job) -> None:
        with suppress(StoreUnavailable):  # it is pruned when the job is over
            self.store.discard_staged(job)

    def _put(self, lease: Lease, key: str, picture: Picture, until: float) -> None:
        """Continue while the database does not answer: if the lease is lost then, the next attempt finds the image."""
        for attempt in Retrying(
            retry=retry_if_exception_type(errors.StorageUnavailable),
            wait=wait_exponential(multiplier=0.2, max=10),
            stop=lambda _: lease.elapsed() >= until or lease.seconds_left() <= 0,
            sleep=lambda seconds: lease.pause(seconds, proof=False),
            reraise=True,
        ):
            with attempt:
                lease.check(proof=False)
                self.storage.put(key, picture.data, picture.content_type)
