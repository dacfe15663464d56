"""A scripted provider, storage, fetcher and image tools."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from generation_worker.domain.payload import Operation, Output
from generation_worker.ports import Control, Generated, GenerationRequest, Picture, Rendered, StoredObject, Watch

IMAGE = b"an image"
STORED_AT = datetime(2026, 1, 1, tzinfo=UTC)


class ScriptedProvider:
    """Makes IMAGE, or does the next thing of its script: raises it, returns it, or calls it with the control."""

    name = "local"
    key_label = "none"

    def __init__(self) -> None:
        self.script: list[Any] = []
        self.requests: list[GenerationRequest] = []

    def warm_up(self) -> None:
        pass

    def generate(self, request: GenerationRequest, control: Control) -> Generated:
        self.requests.append(request)
        step = self.script.pop(0) if self.script else generated()
        if isinstance(step, BaseException):
            raise step
        return step if isinstance(step, Generated) else step(control)


class ScriptedStorage:
    """Keeps objects in memory, unless the next thing of a script is an error or a function to call first."""

    name = "memory"
    longest = 0.0

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.order: list[str] = []
        self.puts: list[Any] = []
        self.gets: list[Any] = []

    def warm_up(self) -> None:
        pass

    def put(self, key: str, data: bytes, content_type: str) -> None:
        step = self.puts.pop(0) if self.puts else None
        if isinstance(step, BaseException):
            raise step
        if step is not None:
            step()
        self.objects[key] = data
        self.order.append(key)

    def get(self, key: str) -> bytes | None:
        self._read()
        return self.objects.get(key)

    def delete(self, key: str) -> None:
        self.objects.pop(key, None)

    def link(self, key: str, *, seconds: float) -> str | None:
        return None

    def keys(self, prefix: str, *, start_after: str, limit: int) -> list[StoredObject]:
        self._read()
        ahead = sorted(key for key in self.objects if key.startswith(prefix) and key > start_after)
        return [StoredObject(key, STORED_AT) for key in ahead[:limit]]

    def discard_unfinished(self, *, older_than: float) -> int:
        raise NotImplementedError

    def _read(self) -> None:
        if self.gets:
            raise self.gets.pop(0)


class ScriptedFetcher:
    """Has what a test puts there; raises what it puts there as an error."""

    def __init__(self) -> None:
        self.found: dict[str, bytes | Exception] = {}
        self.watches: list[Watch] = []

    def warm_up(self) -> None:
        pass

    def fetch(self, url: str, watch: Watch) -> bytes:
        self.watches.append(watch)
        found = self.found[url]
        if isinstance(found, Exception):
            raise found
        return found


class ScriptedImages:
    """Opens whatever does not raise, and renders it with a thumbnail."""

    def __init__(self) -> None:
        self.errors: list[Any] = []
        self.opened: list[bytes] = []

    def warm_up(self) -> None:
        pass

    def open(self, data: bytes) -> Picture:
        self.opened.append(data)
        return self._picture(data, "image/png")

    def render(self, data: bytes, output: Output) -> Rendered:
        picture = self._picture(b"rendered " + data, "image/webp")
        return Rendered(picture, Picture(b"small " + data, "image/webp", 1, 1) if output.thumbnail else None)

    def process(self, data: bytes, operations: Sequence[Operation]) -> Rendered:
        return Rendered(self._picture(b"processed " + data, "image/jpeg"), None)

    def close(self) -> None:
        pass

    def _picture(self, data: bytes, content_type: str) -> Picture:
        if self.errors:
            raise self.errors.pop(0)
        return Picture(data, content_type, 640, 480)


def generated(data: bytes = IMAGE, model: str = "local-1", provider_ref: str | None = None) -> Generated:
    return Generated(data, model, provider_ref, {"images": 1})
