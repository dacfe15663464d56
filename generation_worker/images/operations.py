"""The operations on images that a child process performs: opening, rendering, resizing, converting.

Requests are plain mappings: importing the models they come from would triple the start time of the process.

A resize with ``contain`` fits an image into a box, keeps its proportions and never enlarges it. ``cover`` and ``fill``
give exactly the requested size, also by enlarging: ``cover`` keeps the proportions and crops, ``fill`` stretches.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from io import BytesIO
from typing import Any

from PIL import Image, ImageOps

from generation_worker.images.decode import ImageRefused, Size, decode

OPENED_QUALITY = 92
"""JPEG quality of inputs for providers."""
QUALITY = 82
THUMBNAIL_QUALITY = 80
SIDES = {"PNG": 2**31 - 1, "JPEG": 65_500, "WEBP": 16_383}
"""Longest side that each format can hold, in pixels."""

WEBP_OUT_OF_MEMORY = ("encoding error 1", "encoding error 2")
"""libwebp's error numbers, as Pillow's messages contain them."""
FILTER = Image.Resampling.LANCZOS
REDUCING_GAP = 2.0
"""Shrink in whole steps down to twice the size, then filter: the result looks the same in half the time."""


def run(request: Mapping[str, Any], data: memoryview, max_pixels: int) -> list[Encoded]:
    """Perform ``request``; return the image, and its thumbnail if there is one. Raises ImageRefused."""
    match request["do"]:
        case "open":
            return _open(data, max_pixels)
        case "render":
            return _render(data, request["output"], max_pixels)
        case "process":
            return _process(data, request["operations"], max_pixels)
        case other:
            raise ValueError(f"unknown operation {other!r}")


def _open(data: memoryview, max_pixels: int) -> list[Encoded]:
    image = decode(data, max_pixels).image
    if image.mode == "RGBA":
        return [encode(image, "PNG", QUALITY)]
    return [encode(image, "JPEG", OPENED_QUALITY)]


def _render(data: memoryview, output: Mapping[str, Any], max_pixels: int) -> list[Encoded]:
    side: int | None = output["max_side"]
    shrink = partial(contained, box=(side, side)) if side else None
    decoded = decode(data, max_pixels, shrink)
    image = to_size(decoded.image, shrink(decoded.size)) if shrink else decoded.image
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
                image = resize(image, size, operation, max_pixels)
                size = image.size
            case "thumbnail":
                thumbnail = _thumbnails(image, operation["size"])
            case "convert":
                wanted, quality = operation["format"].upper(), operation["quality"]
            case other:
                raise ValueError(f"unknown operation {other!r}")
    return [encode(image, wanted, quality), *thumbnail]


def _shrink(first: Mapping[str, Any], max_pixels: int) -> Callable[[Size], Size] | None:
    """If the first operation is a resize, nothing else needs the full image, so the decoder may shrink it."""
    if first["type"] != "resize":
        return None
    return partial(target, operation=first, max_pixels=max_pixels)


def _thumbnails(image: Image.Image, side: int | None) -> list[Encoded]:
    if side is None:
        return []
    small = to_size(image, contained(image.size, (side, side)))
    return [encode(small, "WEBP", THUMBNAIL_QUALITY)]


def contained(size: Size, box: tuple[int | None, int | None]) -> Size:
    """``size`` shrunk to fit into ``box``, whose sides may be None for unlimited; no side becomes 0."""
    sides = zip(size, box, strict=True)
    scale = min(1.0, *(limit / side for side, limit in sides if limit is not None))
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def target(size: Size, operation: Mapping[str, Any], max_pixels: int) -> Size:
    """The size of the result of ``operation``. Raises ImageRefused if it is too large."""
    if operation["fit"] == "contain":
        return contained(size, (operation["width"], operation["height"]))
    width, height = operation["width"], operation["height"]
    if width * height > max_pixels:
        raise ImageRefused(
            f"resize: {width} × {height} pixels are more than the {max_pixels / 1e6:g} megapixels allowed"
        )
    return width, height


def resize(image: Image.Image, size: Size, operation: Mapping[str, Any], max_pixels: int) -> Image.Image:
    """Resize ``image``, whose full size is ``size`` even if it was decoded smaller. Raises ImageRefused."""
    wanted = target(size, operation, max_pixels)
    if operation["fit"] == "cover":
        return ImageOps.fit(image, wanted, FILTER)
    return to_size(image, wanted)


def to_size(image: Image.Image, size: Size) -> Image.Image:
    if image.size == size:
        return image
    return image.resize(size, FILTER, reducing_gap=REDUCING_GAP)  # pyright: ignore[reportUnknownMemberType]


@dataclass(frozen=True, slots=True)
class Encoded:
    """An image file in memory. Width and height are pixels."""

    data: bytes = field(repr=False)
    content_type: str
    width: int
    height: int

    def header(self) -> dict[str, Any]:
        return {
            "content_type": self.content_type,
            "width": self.width,
            "height": self.height,
            "bytes": len(self.data),
        }


def encode(image: Image.Image, wanted: str, quality: int) -> Encoded:
    """``image`` as PNG, JPEG or WEBP; PNG ignores ``quality``. Raises ImageRefused if a side is too long."""
    if max(image.size) > SIDES[wanted]:
        raise ImageRefused(
            f"{image.width} × {image.height} pixels do not fit into {wanted}, "
            f"whose sides have at most {SIDES[wanted]} pixels: request a smaller size"
        )
    if wanted == "JPEG" and image.mode == "RGBA":
        image = _on_white(image)
    return Encoded(_saved(image, wanted, quality), f"image/{wanted.lower()}", *image.size)


def _saved(image: Image.Image, wanted: str, quality: int) -> bytes:
    file = BytesIO()
    try:
        image.save(file, wanted, **_settings(wanted, quality))
    except ValueError as error:
        if str(error) in WEBP_OUT_OF_MEMORY:
            raise MemoryError from None
        raise
    return file.getvalue()


def _settings(wanted: str, quality: int) -> dict[str, Any]:
    match wanted:
        case "PNG":
            return {"compress_level": 4}  # a tenth larger than the default, in half the time
        case "WEBP":
            return {"quality": quality, "method": 2}  # the same, compared to the default 4
        case _:
            return {"quality": quality}


def _on_white(image: Image.Image) -> Image.Image:
    page = Image.new("RGB", image.size, "white")
    page.paste(image, mask=image.getchannel("A"))
    return page
