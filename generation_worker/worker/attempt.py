"""One attempt at a job: generate or process its image, store it, and return the outcome."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from generation_worker import ports
from generation_worker.domain import errors
from generation_worker.domain.gate import BREAKER, BreakerPolicy
from generation_worker.domain.payload import Generation, ImageProcessing, ImageRef, Payload, parse_payload
from generation_worker.domain.settlement import Cancelled, Completed, Outcome, Released, outcome_of
from generation_worker.events import Events
from generation_worker.worker import image_keys, image_store, paid_call, signals
from generation_worker.worker.lease import Lease

MOST_FOUND = 100
"""The number of stored images of one job that are read after a crash. Each belongs to another attempt."""

Work = Callable[[Lease], Outcome]
"""What a thread does with a lease: ``Attempt.run``, or a substitute with which a benchmark measures the protocol."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """Runs attempts. There is one for the whole worker, and it keeps nothing between jobs."""

    store: ports.Store
    keys: paid_call.ProviderKeys
    storage: ports.Storage
    fetcher: ports.Fetcher
    images: ports.Images
    events: Events
    max_paid_calls: int
    breaker: BreakerPolicy = BREAKER
    hints: signals.ProviderHints = field(default_factory=signals.ProviderHints)

    def run(self, lease: Lease) -> Outcome:
        """Work on the job. Every error becomes an outcome."""
        outcome = self._outcome(lease)
        if lease.job.permit is not None and not isinstance(outcome, Completed):
            with suppress(ports.StoreUnavailable):  # a permit that is not returned expires with its minute
                self.store.return_permit(lease.job)
        return outcome

    def _outcome(self, lease: Lease) -> Outcome:
        try:
            lease.check()
            return Completed(self._result(lease))
        except errors.JobError as error:
            return outcome_of(error)
        except errors.CancelRequested:
            return Cancelled()
        except errors.AttemptStopped:
            return Released()  # if the lease is lost, the fence keeps this from being written
        except ports.StoreUnavailable:
            return Released()
        except BaseException as error:  # noqa: BLE001 - a fault of the worker must end the attempt, not the thread
            self.events.emit("attempt.broke", **lease.job.tags, exc_info=error)
            return outcome_of(errors.InternalError(f"{type(error).__name__} in the worker; its log has the details."))

    def _result(self, lease: Lease) -> dict[str, Any]:
        job = lease.job
        payload = parse_payload(job.kind, job.payload, private_urls=True)  # the fetcher checks private addresses
        if staged := self._image_store.find_staged(job):
            return self._store_staged(lease, payload, staged)
        if job.crashes and (stored := self._find_stored(lease)):
            return stored
        return self._process(lease, payload) if isinstance(payload, ImageProcessing) else self._generate(lease, payload)

    @property
    def _image_store(self) -> image_store.ImageStore:
        return image_store.ImageStore(self.store, self.storage, self.events)

    def _process(self, lease: Lease, payload: ImageProcessing) -> dict[str, Any]:
        rendered = self.images.process(self._load(lease, payload.image), payload.operations)
        return {"images": [self._image_store.put(lease, rendered)], "provider": lease.job.provider, "model": None}

    # generate

    def _generate(self, lease: Lease, payload: Generation) -> dict[str, Any]:
        calls = paid_call.PaidCalls(self.store, self.events, self.keys, self.max_paid_calls, self.breaker, self.hints)
        call, generated = calls.make(lease, self._request(lease, payload))
        paid = ports.Staged(generated.data, lease.job.provider, errors.clean_message(generated.model))
        try:
            rendered = self._render(paid, payload)
        except errors.OutputRejected as error:
            call.reject(error)
            raise
        except BaseException:
            self._image_store.stage(lease.job, paid)  # after a fault of the worker the image must not be paid again
            raise
        return _result_of(self._image_store.put_paid(lease, rendered, paid, staged=False), paid)

    def _request(self, lease: Lease, payload: Generation) -> ports.GenerationRequest:
        return ports.GenerationRequest(
            job_id=lease.job.id,
            attempt=lease.job.attempt + lease.job.waits,
            prompt=payload.filled_prompt,
            images=tuple(self._open_input(lease, ref) for ref in payload.images),
            aspect_ratio=payload.aspect_ratio,
            image_size=payload.image_size,
        )

    def _render(self, paid: ports.Staged, payload: Generation) -> ports.Rendered:
        try:
            return self.images.render(paid.data, payload.output)
        except errors.InputRejected as error:
            raise errors.OutputRejected(f"The provider's answer cannot be used: {error.message}") from error

    # inputs

    def _open_input(self, lease: Lease, ref: ImageRef) -> ports.Picture:
        lease.check()  # each input may take long
        return self.images.open(self._load(lease, ref))

    def _load(self, lease: Lease, ref: ImageRef) -> bytes:
        if ref.url is not None:
            return self.fetcher.fetch(ref.url, lease)
        assert ref.key is not None
        try:
            data = self.storage.get(ref.key)
        except errors.StorageUnavailable as error:
            raise errors.InputUnavailable(error.message) from error
        if data is None:
            raise errors.InputNotFound(f"There is no object under the key {ref.key!r}.")
        return data

    # images of an earlier attempt

    def _store_staged(self, lease: Lease, payload: Payload, staged: ports.Staged) -> dict[str, Any]:
        """Store an image that an earlier attempt paid for and could not store."""
        assert not isinstance(payload, ImageProcessing)
        self.events.emit("image.found", **lease.job.tags)
        try:
            rendered = self._render(staged, payload)
        except errors.OutputRejected:
            self._image_store.discard(lease.job)
            raise
        return _result_of(self._image_store.put_paid(lease, rendered, staged, staged=True), staged)

    def _find_stored(self, lease: Lease) -> dict[str, Any] | None:
        """The result of an earlier attempt that stored its image and crashed before it was settled."""
        try:
            return self._search_storage(lease)
        except errors.StorageUnavailable as error:
            # The image may be there, so nothing else is tried.
            raise errors.StorageUnavailable(error.message, kept=True) from error

    def _search_storage(self, lease: Lease) -> dict[str, Any] | None:
        job = lease.job
        for key, _ in self.storage.keys(image_keys.image_key_prefix(job), start_after="", limit=MOST_FOUND):
            lease.check()
            content_type, data = image_keys.content_type_of(key), self.storage.get(key)
            if content_type is None or data is None:
                continue
            try:
                opened = self.images.open(data)
            except errors.InputRejected:
                continue  # not an image, so no attempt has stored it
            picture = ports.Picture(data, content_type, opened.width, opened.height)
            thumbnail_key = image_keys.thumbnail_key_beside(key)
            thumbnail = thumbnail_key if self.storage.get(thumbnail_key) is not None else None
            self.events.emit("image.found", **job.tags)
            return {
                "images": [image_keys.describe_image(key, picture, thumbnail)],
                "provider": job.provider,
                "model": None,
            }
        return None


def _result_of(image: dict[str, Any], paid: ports.Staged) -> dict[str, Any]:
    return {"images": [image], "provider": paid.provider, "model": paid.model}
