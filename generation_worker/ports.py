"""What the worker needs from the outside, in its own words. Adapters fulfil these; the worker knows no adapter."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol
from uuid import UUID

from generation_worker.domain.payload import Operation, Output


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


class Control(Protocol):
    """The attempt's own view of whether it may go on."""

    def check(self) -> None:
        """Return if the attempt may go on.

        Raises CancelRequested, LeaseLost or ShuttingDown (all AttemptStopped), or AttemptTimedOut.
        """
        ...

    def pause(self, seconds: float) -> None:
        """Sleep, but no longer than the attempt may go on. Raises as ``check`` does, as soon as it is true."""
        ...

    def seconds_left(self) -> float:
        """Seconds until the attempt's deadline; never negative."""
        ...


@dataclass(frozen=True, slots=True)
class GenerationRequest:
    """One image that a provider is asked for."""

    job_id: UUID
    attempt: int
    prompt: str
    images: tuple[Picture, ...] = ()
    aspect_ratio: str | None = None
    image_size: str | None = None


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


class Storage(Protocol):
    """Keeps objects under keys. Safe to use from many threads at once."""

    @property
    def name(self) -> str: ...

    def warm_up(self) -> None: ...

    def put(self, key: str, data: bytes, content_type: str) -> None:
        """Store ``data`` whole or not at all; the same key again replaces it. Raises StorageUnavailable."""
        ...

    def get(self, key: str) -> bytes | None:
        """The object's bytes, or None if there is none. Raises StorageUnavailable."""
        ...

    def delete(self, key: str) -> None:
        """Remove the object if it is there. Raises StorageUnavailable."""
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
