"""What the worker needs of providers, storages, image tools and the web."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple, Protocol, runtime_checkable

from generation_worker.domain import finding
from generation_worker.domain.payload import Operation, Output
from generation_worker.domain.webhook import Notice


@dataclass(frozen=True, slots=True)
class Picture:
    """The bytes of one image that was opened and found sound. Width and height are pixels."""

    data: bytes = field(repr=False)
    content_type: str
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class Rendered:
    """An image as it is to be stored, and its thumbnail if one was asked for."""

    image: Picture
    thumbnail: Picture | None


class Watch(Protocol):
    """Whether something that takes its time may go on. Asked often: before each read, each write, each wait."""

    def check(self) -> None:
        """Return if the attempt may go on.

        Raises CancelRequested, LeaseLost or ShuttingDown (all AttemptStopped), or AttemptTimedOut.
        """
        ...

    def seconds_left(self) -> float:
        """Seconds until the attempt's deadline; never negative."""
        ...


class Control(Watch, Protocol):
    """The attempt's own view of whether it may go on."""

    def pause(self, seconds: float, *, wake_on: str | None = None) -> None:
        """Sleep, but no longer than the attempt may go on. Raises as ``check`` does, as soon as it is true.

        ``wake_on`` is the provider's id of the call: a notice about it ends the pause, also one that came before. Each
        ends one pause at most, may come early, late, twice or never, and says nothing but that a look may be worth it.
        """
        ...

    def admit(self) -> None:
        """Called when the request that will be paid is about to leave: sees to it that its permit is for this moment.

        Raises GateClosed if it must not leave.
        """
        ...

    def remember(self, provider_ref: str) -> None:
        """Keep the provider's id of this call before its answer is awaited: a later attempt gets it as ``resume``.

        Never raises. While the database is away the id is kept in memory, and written at one of the next pauses.
        """
        ...


@dataclass(frozen=True, slots=True)
class GenerationRequest:
    """One image that a provider is asked for."""

    job_id: str
    attempt: int
    """Which request for this job it is, from 1; waits for a rate limit count here."""
    prompt: str
    images: tuple[Picture, ...] = ()
    aspect_ratio: str | None = None
    image_size: str | None = None
    resume: str | None = None
    """What an earlier call for this job remembered, and nobody has received: ask for that, and begin nothing new.

    Raises CallLost if the provider cannot give it any more.
    """


@dataclass(frozen=True, slots=True)
class Generated:
    """A provider's answer: bytes that are not yet checked, and what the call cost in the provider's words."""

    data: bytes = field(repr=False)
    model: str
    provider_ref: str | None = None
    usage: Mapping[str, Any] = field(default_factory=dict[str, Any])


class Provider(Protocol):
    """Makes images. Safe to use from many threads at once."""

    @property
    def name(self) -> str: ...

    @property
    def key_label(self) -> str:
        """Names the key in use without revealing it."""
        ...

    def warm_up(self) -> None:
        """Do what is slow the first time (imports, clients), before the first job is claimed."""
        ...

    def generate(self, request: GenerationRequest, control: Control) -> Generated:
        """One call. Raises ProviderError with the right answer to retry, wait and spent; AttemptStopped via control."""
        ...


@runtime_checkable
class Checkable(Protocol):
    """An adapter that can tell whether it would work, without spending anything."""

    def check(self, *, seconds: float) -> finding.Verdict:
        """Ask the other side, for at most about ``seconds``. Never raises for what the other side does."""
        ...


class WebhookReader(Protocol):
    """Reads what a provider sends of its own accord. Safe to use from many threads at once."""

    @property
    def most_bytes(self) -> int:
        """A larger body is not read."""
        ...

    def read(self, headers: Mapping[str, str], body: bytes) -> Notice:
        """The notice in a request; the names of headers are in lower case.

        Raises NoticeRefused, and SignatureInvalid before anything of the body is believed.
        """
        ...


class StoredObject(NamedTuple):
    """An object as the storage lists it. ``modified_at`` is by the storage's clock."""

    key: str
    modified_at: datetime


class Storage(Protocol):
    """Keeps objects under keys. Safe to use from many threads at once."""

    @property
    def name(self) -> str: ...

    @property
    def longest(self) -> float:
        """Seconds after which any of its operations on one object has ended, though its server may hang."""
        ...

    def warm_up(self) -> None: ...

    def put(self, key: str, data: bytes, content_type: str) -> None:
        """Store ``data`` whole or not at all; the same key again replaces it. Raises StorageUnavailable."""
        ...

    def get(self, key: str) -> bytes | None:
        """The object's bytes, or None if there is none.

        Raises StorageUnavailable, or InputRejected if it is larger than any image should be.
        """
        ...

    def delete(self, key: str) -> None:
        """Remove the object if it is there. Raises StorageUnavailable."""
        ...

    def link(self, key: str, *, seconds: float) -> str | None:
        """Where a browser finds the object for so long; None if this storage has no addresses."""
        ...

    def keys(self, prefix: str, *, start_after: str, limit: int) -> list[StoredObject]:
        """At most ``limit`` objects in the order of their keys; an empty list only if there are no more.

        Raises StorageUnavailable.
        """
        ...

    def discard_unfinished(self, *, older_than: float) -> int:
        """Remove what writes that were cut off so many seconds ago have left; how many. Raises StorageUnavailable."""
        ...


class Fetcher(Protocol):
    """Gets inputs by URL. Safe to use from many threads at once."""

    def warm_up(self) -> None: ...

    def fetch(self, url: str, watch: Watch) -> bytes:
        """The bytes behind a user's URL: not too many, and not yet looked at.

        Raises InputRejected, also for a URL that may not be asked; InputNotFound, InputUnavailable; and as ``watch``.
        """
        ...


class Images(Protocol):
    """Opens and converts untrusted bytes, within limits on pixels, memory and time."""

    def warm_up(self) -> None: ...

    def open(self, data: bytes) -> Picture:
        """The image, upright and without metadata, as PNG or JPEG. Raises InputRejected."""
        ...

    def render(self, data: bytes, output: Output) -> Rendered:
        """The image as ``output`` wants it. Raises InputRejected."""
        ...

    def process(self, data: bytes, operations: Sequence[Operation]) -> Rendered:
        """The image after ``operations``, in their order. Raises InputRejected."""
        ...

    def close(self) -> None: ...
