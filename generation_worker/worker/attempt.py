"""One attempt at a job: generate, store, and say how it ended."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from tenacity import Retrying, retry_if_exception_type, wait_exponential

from generation_worker.domain.errors import (
    AttemptStopped,
    CancelRequested,
    InputNotFound,
    InputRejected,
    InputUnavailable,
    InternalError,
    JobError,
    OutputRejected,
    ProviderNotConfigured,
    StorageUnavailable,
    clean_message,
)
from generation_worker.domain.job import Job
from generation_worker.domain.outcome import Cancelled, Completed, Outcome, Released, outcome_of
from generation_worker.domain.payload import (
    ImageProcessing,
    ImageRef,
    Payload,
    parse_payload,
)
from generation_worker.events import Events
from generation_worker.ports import (
    GenerationRequest,
    Images,
    Picture,
    Provider,
    Rendered,
    Storage,
    Store,
    StoreUnavailable,
)
from generation_worker.worker.artifact import describe, image_key, possible_keys, thumbnail_key
from generation_worker.worker.lease import Lease
from generation_worker.worker.paid_call import PaidCalls


@dataclass(frozen=True, slots=True)
class Attempt:
    """Everything an attempt works with. One for the whole worker; it keeps nothing between jobs."""

    store: Store
    providers: Mapping[str, Provider]
    storage: Storage
    images: Images
    events: Events
    max_paid_calls: int

    def run(self, lease: Lease) -> Outcome:
        """Work on the job; whatever happens is an outcome."""
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
            self.events.emit("attempt.broke", job=lease.job.id, user=lease.job.user_id, exc_info=error)
            return outcome_of(InternalError(f"{type(error).__name__} in the worker; its log has the details."))

    def _result(self, lease: Lease) -> dict[str, Any]:
        job = lease.job
        payload = parse_payload(job.kind, job.payload)
        if job.crashes and (stored := self._already_stored(job, payload)):
            return stored
        rendered, made_by = self._generate(lease, payload)
        return {"images": [self._store(lease, rendered)], **made_by}

    # generate

    def _generate(self, lease: Lease, payload: Payload) -> tuple[Rendered, dict[str, Any]]:
        if isinstance(payload, ImageProcessing):
            data = self._load(payload.image)
            return self.images.process(data, payload.operations), {"provider": lease.job.provider, "model": None}
        provider = self.providers.get(lease.job.provider)
        if provider is None:
            raise ProviderNotConfigured(f"This worker has no provider {lease.job.provider!r}.")
        request = GenerationRequest(
            job_id=lease.job.id,
            attempt=lease.job.attempt + lease.job.waits,
            prompt=payload.filled_prompt,
            images=tuple(self._picture(ref) for ref in payload.images),
            aspect_ratio=payload.aspect_ratio,
            image_size=payload.image_size,
        )
        calls = PaidCalls(self.store, self.events, self.max_paid_calls)
        call, generated = calls.make(lease, provider, request)
        try:
            rendered = self.images.render(generated.data, payload.output)
        except InputRejected as error:
            call.finish(True, OutputRejected.code)  # nobody needs to ask for it again
            raise OutputRejected(f"The provider's answer cannot be used: {error.message}") from error
        return rendered, {"provider": provider.name, "model": clean_message(generated.model)}

    def _picture(self, ref: ImageRef) -> Picture:
        return self.images.open(self._load(ref))

    def _load(self, ref: ImageRef) -> bytes:
        if ref.key is None:
            raise InputRejected("Inputs by url are not fetched by this worker: store the image and name it by its key.")
        try:
            data = self.storage.get(ref.key)
        except StorageUnavailable as error:
            raise InputUnavailable(error.message) from error
        if data is None:
            raise InputNotFound(f"There is no object under the key {ref.key!r}.")
        return data

    # store

    def _store(self, lease: Lease, rendered: Rendered) -> dict[str, Any]:
        """Keep the image under the key that this job always has. The thumbnail goes first: an image is never alone."""
        thumbnail = None
        if rendered.thumbnail is not None:
            thumbnail = thumbnail_key(lease.job)
            self._put(lease, thumbnail, rendered.thumbnail)
        key = image_key(lease.job, rendered.image.content_type)
        self._put(lease, key, rendered.image)
        return describe(key, rendered.image, thumbnail)

    def _put(self, lease: Lease, key: str, picture: Picture) -> None:
        """Paid bytes are not thrown away because the storage or the database has a bad minute; the attempt's deadline
        is the end. Nothing is put without a proof: under this key there may be another attempt's image by now.
        """
        for attempt in Retrying(
            retry=retry_if_exception_type(StorageUnavailable),
            wait=wait_exponential(multiplier=0.2, max=10),
            stop=lambda _: lease.seconds_left() <= 0,
            sleep=lambda seconds: lease.pause(seconds, proof=False),
            reraise=True,
        ):
            with attempt:
                lease.wait_for_proof()
                self.storage.put(key, picture.data, picture.content_type)

    def _already_stored(self, job: Job, payload: Payload) -> dict[str, Any] | None:
        """The result of an earlier attempt that stored its image and crashed before it could say so."""
        for content_type, key in possible_keys(job, payload):
            if (data := self.storage.get(key)) is None:
                continue
            try:
                opened = self.images.open(data)
            except InputRejected:
                continue  # no image, so not ours: it will be replaced
            picture = Picture(data, content_type, opened.width, opened.height)
            thumbnail = thumbnail_key(job) if self.storage.get(thumbnail_key(job)) is not None else None
            self.events.emit("image.found", job=job.id, user=job.user_id, attempt=job.attempt)
            return {"images": [describe(key, picture, thumbnail)], "provider": job.provider, "model": None}
        return None


Work = Callable[[Lease], Outcome]
"""What a thread does with a lease: ``Attempt.run``, or a stand-in that a benchmark measures the protocol with."""
