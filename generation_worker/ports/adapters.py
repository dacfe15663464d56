"""The interfaces of providers, storages, image tools and the fetcher, and the values that they exchange."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple, Protocol, runtime_checkable

from generation_worker.domain import finding
from generation_worker.domain.payload import Operation, Output


@dataclass(frozen=True, slots=True)
class Picture:
    """The bytes of one image that was opened and checked. Width and height are pixels."""

    data: bytes = field(repr=False)
    content_type: str
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class Rendered:
    """An image as it is stored, and its thumbnail if one was requested."""

    image: Picture
    thumbnail: Picture | None


class Watch(Protocol):
    """Bounds a long operation, which calls it before each read, write and wait."""

    def check(self) -> None:
        """Return if the attempt may continue.

        Raises CancelRequested, LeaseLost or ShuttingDown (all AttemptStopped), or AttemptTimedOut.
        """
        ...

    def seconds_left(self) -> float:
        """Seconds until the attempt's deadline; never negative."""
        ...


class Control(Watch, Protocol):
    """What a provider may do with the attempt that calls it."""

    def pause(self, seconds: float, *, wake_on: str | None = None) -> None:
        """Sleep for ``seconds``. Raises as ``check`` does, as soon as the attempt may not continue.

        ``wake_on`` is the provider's id of the call: a webhook about it ends the pause, also one that came before. Each
        webhook ends one pause at most, and may come early, late, twice or never: it is a reason to query, not a result.
        """
        ...

    def admit(self) -> None:
        """Renew the call's permit. Called just before the request that is paid for.

        Raises GateClosed if the request must not be sent.
        """
        ...

    def remember(self, provider_ref: str) -> None:
        """Record the provider's id of this call before waiting for its answer. A later attempt gets it as ``resume``.

        Never raises. While the database does not answer, the id stays in memory and is written in one of the next
        pauses.
        """
        ...


@dataclass(frozen=True, slots=True)
class GenerationRequest:
    """A request for one image."""

    job_id: str
    attempt: int
    """The number of the request for this job, from 1; waits for a rate limit count."""
    prompt: str
    images: tuple[Picture, ...] = ()
    aspect_ratio: str | None = None
    image_size: str | None = None
    resume: str | None = None
    """The provider's id of an earlier call whose answer was not received: fetch that answer, and begin no new call.

    The provider raises CallLost if it does not have the answer any more.
    """


@dataclass(frozen=True, slots=True)
class Generated:
    """A provider's answer: unchecked bytes, and the usage as the provider reports it."""

    data: bytes = field(repr=False)
    model: str
    provider_ref: str | None = None
    usage: Mapping[str, Any] = field(default_factory=dict[str, Any])


class Provider(Protocol):
    """Makes images. Thread-safe."""

    @property
    def name(self) -> str: ...

    @property
    def key_label(self) -> str:
        """A name for the key that does not reveal it."""
        ...

    def warm_up(self) -> None:
        """Load imports and clients before the first job is claimed."""
        ...

    def generate(self, request: GenerationRequest, control: Control) -> Generated:
        """Make one call.

        Raises ProviderError with the right ``retry``, ``wait`` and ``spent``, and what ``control`` raises.
        """
        ...


@runtime_checkable
class Checkable(Protocol):
    """An adapter that can check its connection without cost."""

    def check(self, *, seconds: float) -> finding.Verdict:
        """Check the connection within about ``seconds``. Raises for no behaviour of the other side."""
        ...


class StoredObject(NamedTuple):
    """An object as the storage lists it. ``modified_at`` is by the storage's clock."""

    key: str
    modified_at: datetime


class Storage(Protocol):
    """Stores objects under keys. Thread-safe."""

    @property
    def name(self) -> str: ...

    @property
    def longest(self) -> float:
        """Seconds after which an operation on one object has ended, even if the server hangs."""
        ...

    def warm_up(self) -> None: ...

    def put(self, key: str, data: bytes, content_type: str) -> None:
        """Store ``data`` completely or not at all; replaces an object of this key. Raises StorageUnavailable."""
        ...

    def get(self, key: str) -> bytes | None:
        """The object's bytes, or None if there is none.

        Raises StorageUnavailable, or InputRejected if it is larger than any image should be.
        """
        ...

    def delete(self, key: str) -> None:
        """Delete the object if it exists. Raises StorageUnavailable."""
        ...

    def link(self, key: str, *, seconds: float) -> str | None:
        """An address for browsers that is valid for ``seconds``; None if this storage has no addresses."""
        ...

    def keys(self, prefix: str, *, start_after: str, limit: int) -> list[StoredObject]:
        """List at most ``limit`` objects in the order of their keys; the list is empty only after the last one.

        Raises StorageUnavailable.
        """
        ...

    def discard_unfinished(self, *, older_than: float) -> int:
        """Delete the remains of writes that were interrupted so long ago (seconds); returns how many.

        Raises StorageUnavailable.
        """
        ...


class Fetcher(Protocol):
    """Fetches inputs by URL. Thread-safe."""

    def warm_up(self) -> None: ...

    def fetch(self, url: str, watch: Watch) -> bytes:
        """The content of a user's URL, bounded in size and otherwise unchecked.

        Raises InputRejected, also for an address that is not allowed; InputNotFound; InputUnavailable; and what
        ``watch`` raises.
        """
        ...


class Images(Protocol):
    """Decodes and converts untrusted bytes, within limits on pixels, memory and time. Thread-safe."""

    def warm_up(self) -> None: ...

    def open(self, data: bytes) -> Picture:
        """The image, upright and without metadata, as PNG or JPEG. Raises InputRejected."""
        ...

    def render(self, data: bytes, output: Output) -> Rendered:
        """The image converted to ``output``. Raises InputRejected."""
        ...

    def process(self, data: bytes, operations: Sequence[Operation]) -> Rendered:
        """The image after ``operations``, which are applied in order. Raises InputRejected."""
        ...

    def close(self) -> None: ...
