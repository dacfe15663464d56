"""What may be asked of an image. Plain functions from bytes to pictures; requests are plain mappings, because the
models that they come from would triple the time that this process needs to start."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from PIL import Image

from generation_worker.images import resize
from generation_worker.images.decode import Size, decode
from generation_worker.images.encode import Encoded, encode

OPENED_QUALITY = 92
"""JPEG quality of what a provider gets to see."""
QUALITY = 82
THUMBNAIL_QUALITY = 80


def run(request: Mapping[str, Any], data: memoryview, max_pixels: int) -> list[Encoded]:
    """The pictures that ``request`` asks for: the image, then its thumbnail if there is one. Raises Refused."""
    match request["do"]:
        case "open":
            return _open(data, max_pixels)
        case "render":
            return _render(data, request["output"], max_pixels)
        case "process":
            return _process(data, request["operations"], max_pixels)
        case other:
            raise ValueError(f"no operation is called {other!r}")


def _open(data: memoryview, max_pixels: int) -> list[Encoded]:
    image = decode(data, max_pixels).image
    if image.mode == "RGBA":
        return [encode(image, "PNG", QUALITY)]
    return [encode(image, "JPEG", OPENED_QUALITY)]


def _render(data: memoryview, output: Mapping[str, Any], max_pixels: int) -> list[Encoded]:
    side: int | None = output["max_side"]
    shrink = partial(resize.contained, box=(side, side)) if side else None
    decoded = decode(data, max_pixels, shrink)
    image = resize.to_size(decoded.image, shrink(decoded.size)) if shrink else decoded.image
    wanted: str = output["format"]
    encoded = encode(image, decoded.format if wanted == "original" else wanted.upper(), output["quality"])
    return [encoded, *_thumbnails(image, output["thumbnail"])]


def _process(data: memoryview, operations: Sequence[Mapping[str, Any]], max_pixels: int) -> list[Encoded]:
    decoded = decode(data, max_pixels, _shrink(operations[0], max_pixels))
    image, size = decoded.image, decoded.size
    wanted, quality = decoded.format, QUALITY
    thumbnail: list[Encoded] = []
    for operation in operations:
        match operation["type"]:
            case "resize":
                image = resize.resize(image, size, operation, max_pixels)
                size = image.size
            case "thumbnail":
                thumbnail = _thumbnails(image, operation["size"])
            case "convert":
                wanted, quality = operation["format"].upper(), operation["quality"]
            case other:
                raise ValueError(f"no operation is called {other!r}")
    return [encode(image, wanted, quality), *thumbnail]


def _shrink(first: Mapping[str, Any], max_pixels: int) -> Callable[[Size], Size] | None:
    """A resize that comes first is the only reader of the full image, so the decoder may shrink for it."""
    if first["type"] != "resize":
        return None
    return partial(resize.target, operation=first, max_pixels=max_pixels)


def _thumbnails(image: Image.Image, side: int | None) -> list[Encoded]:
    if side is None:
        return []
    small = resize.to_size(image, resize.contained(image.size, (side, side)))
    return [encode(small, "WEBP", THUMBNAIL_QUALITY)]
