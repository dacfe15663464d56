"""Images as the worker sees them. Nothing here decodes: that is done by children, which can be lost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from generation_worker.domain.errors import InputRejected, InternalError
from generation_worker.domain.payload import Operation, Output
from generation_worker.images.processes import DEFAULTS, MB, Limits, Pool
from generation_worker.ports import Picture, Rendered

SERVED_LIMIT = 500
"""Operations after which a child is replaced."""


class ImageTools:
    """Opens and converts untrusted images in ``children`` processes. Safe to use from many threads at once.

    PNG, JPEG and WEBP are accepted, by content. What comes out is upright, in sRGB, of 8 bits, and has no metadata.
    ``max_pixels`` is width × height of inputs and outputs, ``max_bytes`` the size of an input, ``memory`` the
    address space of a child in bytes, ``seconds`` the wall time and the CPU time of an operation.
    Every method raises InputRejected if the image cannot be used, and InternalError if the fault is ours.
    """

    def __init__(
        self,
        children: int,
        *,
        max_pixels: int = DEFAULTS.max_pixels,
        max_bytes: int = DEFAULTS.max_bytes,
        memory: int = DEFAULTS.memory,
        seconds: float = DEFAULTS.seconds,
        served_limit: int = SERVED_LIMIT,
    ) -> None:
        self._limits = Limits(max_pixels, max_bytes, memory, seconds)
        self._pool = Pool(children, self._limits, served_limit=served_limit)

    def warm_up(self) -> None:
        """Start the children; without it they start when they are first needed."""
        self._pool.start()

    def open(self, data: bytes) -> Picture:
        """The image as PNG if it has transparency, else as JPEG."""
        return self._ask({"do": "open"}, data).image

    def render(self, data: bytes, output: Output) -> Rendered:
        """The image and its thumbnail as ``output`` wants them; ``max_side`` only ever shrinks."""
        return self._ask({"do": "render", "output": output.model_dump()}, data)

    def process(self, data: bytes, operations: Sequence[Operation]) -> Rendered:
        """The image after ``operations``, in their order; it keeps its format unless one converts it.

        A resize to ``contain`` never enlarges; ``cover`` and ``fill`` give exactly the size that was asked for.
        A thumbnail is taken of the image as it is at that point.
        """
        return self._ask({"do": "process", "operations": [o.model_dump() for o in operations]}, data)

    def close(self) -> None:
        """End the children; nothing can be opened afterwards."""
        self._pool.close()

    def _ask(self, request: Mapping[str, Any], data: bytes) -> Rendered:
        if len(data) > self._limits.max_bytes:
            found, allowed = len(data) / MB, self._limits.max_bytes / MB
            raise InputRejected(f"the file is {found:.1f} MB, more than the {allowed:g} MB allowed")
        answer, body = self._pool.ask(request, data)
        if "refused" in answer:
            raise InputRejected(str(answer["refused"]))
        if "fault" in answer:
            raise InternalError(f"the image could not be converted: {answer['fault']}")
        return _rendered(answer["pictures"], body)


def _rendered(headers: Sequence[Mapping[str, Any]], body: memoryview) -> Rendered:
    pictures: list[Picture] = []
    for header in headers:
        data, body = bytes(body[: header["bytes"]]), body[header["bytes"] :]
        pictures.append(Picture(data, header["content_type"], header["width"], header["height"]))
    image, *thumbnails = pictures
    return Rendered(image, thumbnails[0] if thumbnails else None)
