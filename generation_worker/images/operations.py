"""What may be asked of an image. Plain functions from bytes to pictures; requests are plain mappings, because the
models that they come from would triple the time that this process needs to start."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from io import BytesIO
from typing import Any

from PIL import Image, ImageOps

from generation_worker.images.decode import Refused, Size, decode

# Pixels to bytes, with nothing in the file but the pixels.


SIDES = {"PNG": 2**31 - 1, "JPEG": 65_500, "WEBP": 16_383}
"""Longest side that each format can hold, in pixels."""

WEBP_OUT_OF_MEMORY = ("encoding error 1", "encoding error 2")
"""libwebp's own numbers, which Pillow passes on as they are."""


@dataclass(frozen=True, slots=True)
class Encoded:
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
    """``image`` as PNG, JPEG or WEBP; PNG has no use for ``quality``. Raises Refused if its sides are too long."""
    if max(image.size) > SIDES[wanted]:
        raise Refused(
            f"{image.width} × {image.height} pixels do not fit into {wanted}, "
            f"which holds at most {SIDES[wanted]} a side: ask for a smaller size"
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
            return {"quality": quality, "method": 2}  # as above, against 4
        case _:
            return {"quality": quality}


def _on_white(image: Image.Image) -> Image.Image:
    page = Image.new("RGB", image.size, "white")
    page.paste(image, mask=image.getchannel("A"))
    return page


# Sizes.
#
# ``contain`` makes an image fit into the box and keeps its proportions; it never enlarges, so an image that already
# fits stays as it is. ``cover`` and ``fill`` give exactly the size that was asked for, enlarging if they must:
# ``cover`` keeps the proportions and cuts off what sticks out on both sides, ``fill`` stretches.


FILTER = Image.Resampling.LANCZOS
GAP = 2.0
"""Shrink in whole steps down to twice the size, then filter: looks the same, takes half the time."""


def contained(size: Size, box: tuple[int | None, int | None]) -> Size:
    """``size`` shrunk to fit into ``box``, in which a side may be open; no side becomes 0."""
    sides = zip(size, box, strict=True)
    scale = min(1.0, *(limit / side for side, limit in sides if limit is not None))
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def target(size: Size, operation: Mapping[str, Any], max_pixels: int) -> Size:
    """The size that ``operation`` makes of ``size``. Raises Refused if that is too large."""
    if operation["fit"] == "contain":
        return contained(size, (operation["width"], operation["height"]))
    width, height = operation["width"], operation["height"]
    if width * height > max_pixels:
        raise Refused(f"resize: {width} × {height} pixels are more than the {max_pixels / 1e6:g} megapixels allowed")
    return width, height


def resize(image: Image.Image, size: Size, operation: Mapping[str, Any], max_pixels: int) -> Image.Image:
    """``image``, which stands for one of ``size``, as ``operation`` wants it. Raises Refused."""
    wanted = target(size, operation, max_pixels)
    if operation["fit"] == "cover":
        return ImageOps.fit(image, wanted, FILTER)
    return to_size(image, wanted)


def to_size(image: Image.Image, size: Size) -> Image.Image:
    if image.size == size:
        return image
    return image.resize(size, FILTER, reducing_gap=GAP)  # pyright: ignore[reportUnknownMemberType]


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
                raise ValueError(f"no operation is called {other!r}")
    return [encode(image, wanted, quality), *thumbnail]


def _shrink(first: Mapping[str, Any], max_pixels: int) -> Callable[[Size], Size] | None:
    """A resize that comes first is the only reader of the full image, so the decoder may shrink for it."""
    if first["type"] != "resize":
        return None
    return partial(target, operation=first, max_pixels=max_pixels)


def _thumbnails(image: Image.Image, side: int | None) -> list[Encoded]:
    if side is None:
        return []
    small = to_size(image, contained(image.size, (side, side)))
    return [encode(small, "WEBP", THUMBNAIL_QUALITY)]
