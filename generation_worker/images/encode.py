"""Pixels to bytes, with nothing in the file but the pixels."""

from __future__ import annotations

from dataclasses import dataclass, field
from io import BytesIO
from typing import Any

from PIL import Image

from generation_worker.images.decode import Refused

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
