"""Opens and converts images for the worker. The decoding is done in child processes, because it can crash them."""

from collections.abc import Mapping, Sequence
from typing import Any

from generation_worker.domain.errors import InputRejected, InternalError
from generation_worker.domain.payload import Operation, Output
from generation_worker.images.processes import DEFAULTS, MB, ChildPool, ImageLimits
from generation_worker.ports import Picture, Rendered

SERVED_LIMIT = 500
"""Requests after which a child is replaced."""


class ImageTools:
    """Opens and converts untrusted images in ``children`` processes. Safe to use from many threads at once.

    PNG, JPEG and WEBP are accepted, by content. Results are upright, in 8-bit sRGB and without metadata.
    The limits are those of ImageLimits. Every method raises InputRejected if the image cannot be used, and
    InternalError if the image is not to blame.
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
        self._limits = ImageLimits(max_pixels, max_bytes, memory, seconds)
        self._pool = ChildPool(children, self._limits, served_limit=served_limit)

    def warm_up(self) -> None:
        """Start the children; otherwise they start when they are first needed."""
        self._pool.start()

    def open(self, data: bytes) -> Picture:
        """The image as a PNG if it has transparency, else as a JPEG."""
        return self._request({"do": "open"}, data).image

    def render(self, data: bytes, output: Output) -> Rendered:
        """The image and its thumbnail as ``output`` specifies; ``max_side`` never enlarges."""
        return self._request({"do": "render", "output": output.model_dump()}, data)

    def process(self, data: bytes, operations: Sequence[Operation]) -> Rendered:
        """The image after ``operations``, in their order; it keeps its format unless one of them converts it.

        A resize with ``contain`` never enlarges; ``cover`` and ``fill`` give exactly the requested size. A thumbnail
        shows the image at that point.
        """
        return self._request({"do": "process", "operations": [o.model_dump() for o in operations]}, data)

    def close(self) -> None:
        """End the children; later calls raise InternalError."""
        self._pool.close()

    def _request(self, request: Mapping[str, Any], data: bytes) -> Rendered:
        if len(data) > self._limits.max_bytes:
            found, allowed = len(data) / MB, self._limits.max_bytes / MB
            raise InputRejected(f"the file is {found:.1f} MB, more than the {allowed:g} MB allowed")
        header, body = self._pool.request(request, data)
        if "refused" in header:
            raise InputRejected(str(header["refused"]))
        if "fault" in header:
            raise InternalError(f"the image could not be converted: {header['fault']}")
        return _rendered(header["pictures"], body)


def _rendered(headers: Sequence[Mapping[str, Any]], body: memoryview) -> Rendered:
    pictures: list[Picture] = []
    for header in headers:
        data, body = bytes(body[: header["bytes"]]), body[header["bytes"] :]
        pictures.append(Picture(data, header["content_type"], header["width"], header["height"]))
    image, *thumbnails = pictures
    return Rendered(image, thumbnails[0] if thumbnails else None)
