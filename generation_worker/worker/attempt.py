"""One attempt at a job: generate, store, and say how it ended."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from generation_worker.domain.errors import (
    AttemptStopped,
    CancelRequested,
    InputNotFound,
    InputRejected,
    InputUnavailable,
    InternalError,
    JobError,
    OutputRejected,
    StorageUnavailable,
    clean_message,
)
from generation_worker.domain.gate import BREAKER, BreakerPolicy
from generation_worker.domain.payload import Generation, ImageProcessing, ImageRef, Payload, parse_payload
from generation_worker.domain.settlement import Cancelled, Completed, Outcome, Released, outcome_of
from generation_worker.events import Events
from generation_worker.ports import (
    Fetcher,
    GenerationRequest,
    Images,
    Picture,
    Rendered,
    Staged,
    Storage,
    Store,
    StoreUnavailable,
)
from generation_worker.worker.image_keys import content_type_of, describe, image_keys_begin, thumbnail_key_beside
from generation_worker.worker.image_store import ImageStore
from generation_worker.worker.lease import Lease
from generation_worker.worker.paid_call import PaidCalls, ProviderKeys
from generation_worker.worker.signals import ProviderHints

MOST_FOUND = 100
"""Images of one job that are looked at after a crash: each is another attempt's."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """Everything an attempt works with. One for the whole worker; it keeps nothing between jobs."""

    store: Store
    keys: ProviderKeys
    storage: Storage
    fetcher: Fetcher
    images: Images
    events: Events
    max_paid_calls: int
    breaker: BreakerPolicy = BREAKER
    notices: ProviderHints = field(default_factory=ProviderHints)

    def run(self, lease: Lease) -> Outcome:
        """Work on the job; whatever happens is an outcome."""
        outcome = self._outcome(lease)
        if lease.job.permit is not None and not isinstance(outcome, Completed):
            with suppress(StoreUnavailable):  # a permit that is not given back leaves the window by itself
                self.store.return_permit(lease.job)
        return outcome

    def _outcome(self, lease: Lease) -> Outcome:
        try:
            lease.check()
            return Completed(self._result(lease))
        except JobError as error:
            return outcome_of(error)
        except CancelRequested:
            return Cancelled()
        except AttemptStopped:
            return Released()  # if the lease is lost, the fence sees to it that nothing is written
        except StoreUnavailable:
            return Released()
        except BaseException as error:  # noqa: BLE001 - a fault of ours must end the attempt, not the thread
            self.events.emit("attempt.broke", **lease.job.tags, exc_info=error)
            return outcome_of(InternalError(f"{type(error).__name__} in the worker; its log has the details."))

    def _result(self, lease: Lease) -> dict[str, Any]:
        job = lease.job
        payload = parse_payload(job.kind, job.payload, private_urls=True)  # the fetcher knows which it may ask
        if staged := self._image_store.find(job):
            return self._store_staged(lease, payload, staged)
        if job.crashes and (stored := self._already_stored(lease)):
            return stored
        return self._process(lease, payload) if isinstance(payload, ImageProcessing) else self._generate(lease, payload)

    @property
    def _image_store(self) -> ImageStore:
        return ImageStore(self.store, self.storage, self.events)

    def _process(self, lease: Lease, payload: ImageProcessing) -> dict[str, Any]:
        rendered = self.images.process(self._load(lease, payload.image), payload.operations)
        return {"images": [self._image_store.put(lease, rendered)], "provider": lease.job.provider, "model": None}

    # generate

    def _generate(self, lease: Lease, payload: Generation) -> dict[str, Any]:
        calls = PaidCalls(self.store, self.events, self.keys, self.max_paid_calls, self.breaker, self.notices)
        call, generated = calls.make(lease, self._request(lease, payload))
        paid = Staged(generated.data, lease.job.provider, clean_message(generated.model))
        try:
            rendered = self._render(paid, payload)
        except OutputRejected as error:
            call.reject(error)
            raise
        except BaseException:
            self._image_store.stage(lease.job, paid)  # a fault of ours is no reason to pay again
            raise
        return _result_of(self._image_store.put_paid(lease, rendered, paid, staged=False), paid)

    def _request(self, lease: Lease, payload: Generation) -> GenerationRequest:
        return GenerationRequest(
            job_id=lease.job.id,
            attempt=lease.job.attempt + lease.job.waits,
            prompt=payload.filled_prompt,
            images=tuple(self._picture(lease, ref) for ref in payload.images),
            aspect_ratio=payload.aspect_ratio,
            image_size=payload.image_size,
        )

    def _render(self, paid: Staged, payload: Generation) -> Rendered:
        try:
            return self.images.render(paid.data, payload.output)
        except InputRejected as error:
            raise OutputRejected(f"The provider's answer cannot be used: {error.message}") from error

    def _picture(self, lease: Lease, ref: ImageRef) -> Picture:
        lease.check()  # each may take long
        return self.images.open(self._load(lease, ref))

    def _load(self, lease: Lease, ref: ImageRef) -> bytes:
        if ref.url is not None:
            return self.fetcher.fetch(ref.url, lease)
        assert ref.key is not None
        try:
            data = self.storage.get(ref.key)
        except StorageUnavailable as error:
            raise InputUnavailable(error.message) from error
        if data is None:
            raise InputNotFound(f"There is no object under the key {ref.key!r}.")
        return data

    # after an earlier attempt

    def _store_staged(self, lease: Lease, payload: Payload, staged: Staged) -> dict[str, Any]:
        """An earlier attempt has paid for the image, and could not store it."""
        assert not isinstance(payload, ImageProcessing)
        self.events.emit("image.found", **lease.job.tags)
        try:
            rendered = self._render(staged, payload)
        except OutputRejected:
            self._image_store.discard(lease.job)
            raise
        return _result_of(self._image_store.put_paid(lease, rendered, staged, staged=True), staged)

    def _already_stored(self, lease: Lease) -> dict[str, Any] | None:
        """The result of an earlier attempt that stored its image and crashed before it could say so."""
        try:
            return self._found(lease)
        except StorageUnavailable as error:
            raise StorageUnavailable(error.message, kept=True) from error  # it may be there, so nothing else is tried

    def _found(self, lease: Lease) -> dict[str, Any] | None:
        job = lease.job
        for key, _ in self.storage.keys(image_keys_begin(job), start_after="", limit=MOST_FOUND):
            lease.check()
            content_type, data = content_type_of(key), self.storage.get(key)
            if content_type is None or data is None:
                continue
            try:
                opened = self.images.open(data)
            except InputRejected:
                continue  # no image, so not ours
            picture = Picture(data, content_type, opened.width, opened.height)
            beside = thumbnail_key_beside(key)
            thumbnail = beside if self.storage.get(beside) is not None else None
            self.events.emit("image.found", **job.tags)
            return {"images": [describe(key, picture, thumbnail)], "provider": job.provider, "model": None}
        return None


def _result_of(image: dict[str, Any], paid: Staged) -> dict[str, Any]:
    return {"images": [image], "provider": paid.provider, "model": paid.model}


Work = Callable[[Lease], Outcome]
"""What a thread does with a lease: ``Attempt.run``, or a stand-in that a benchmark measures the protocol with."""
