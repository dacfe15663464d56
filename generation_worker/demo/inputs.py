"""The files that the scene's users have uploaded: photographs, garments, and two that are not what they seem."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

from generation_worker.config import ConfigurationError
from generation_worker.domain.errors import InputRejected
from generation_worker.images.tools import ImageTools

SHIPPED = Path(__file__).parent / "photos"
"""See the README there for who took them."""
PORTRAITS = ("astronaut.jpg", "cat.jpg")
VIEWS = ("coffee.jpg", "rocket.jpg")

NOT_AN_IMAGE = "inputs/holiday.jpg"
BOMB = "inputs/bomb.png"
BOMB_SIDE = 30_000

Color = tuple[int, int, int]
GARMENTS: Mapping[str, tuple[Color, Color]] = {
    "inputs/sailor-shirt.png": ((245, 243, 238), (36, 62, 110)),
    "inputs/red-sweater.png": ((176, 40, 46), (196, 70, 66)),
    "inputs/green-jersey.png": ((30, 110, 78), (240, 214, 120)),
}
"""Key → the color of the cloth and of its stripes."""
COLLAR_TO_HEM = [(200, 52), (160, 30), (90, 60), (28, 170), (82, 200), (104, 158), (104, 372)]
"""The left half of a shirt, on a canvas 400 pixels wide."""


@dataclass(frozen=True, slots=True)
class Inputs:
    """Storage keys by what they are for, and the bytes under each key."""

    portraits: tuple[str, ...]
    views: tuple[str, ...]
    garments: tuple[str, ...]
    files: Mapping[str, bytes]


def prepare_inputs(photos: Sequence[Path]) -> Inputs:
    """What the scene works on: the person's own photographs if there are any, else ours.

    Raises ConfigurationError, which names the file, for one that is not an image.
    """
    own = _own(photos)
    shipped = {} if own else {f"inputs/{name}": (SHIPPED / name).read_bytes() for name in PORTRAITS + VIEWS}
    garments = {key: _garment(*colors) for key, colors in GARMENTS.items()}
    odd = {NOT_AN_IMAGE: b"<!doctype html><title>There is no such photo.</title>", BOMB: bomb()}
    return Inputs(
        portraits=tuple(own) or tuple(f"inputs/{name}" for name in PORTRAITS),
        views=tuple(own) or tuple(f"inputs/{name}" for name in VIEWS),
        garments=tuple(garments),
        files={**own, **shipped, **garments, **odd},
    )


def _own(photos: Sequence[Path]) -> dict[str, bytes]:
    if not photos:
        return {}
    tools = ImageTools(1)
    try:
        return {f"inputs/own-{n}": _checked(path, tools) for n, path in enumerate(photos, start=1)}
    finally:
        tools.close()


def _checked(path: Path, tools: ImageTools) -> bytes:
    try:
        data = path.read_bytes()
        tools.open(data)
    except OSError as error:
        raise ConfigurationError([f"--photo: {path} cannot be read: {error.strerror}"]) from None
    except InputRejected as error:
        raise ConfigurationError([f"--photo: {path} cannot be used: {error.message}"]) from None
    return data


def _garment(cloth: Color, stripe: Color) -> bytes:
    """A shirt, as a PNG with a transparent background."""
    from PIL import Image, ImageDraw  # noqa: PLC0415 - who only asks for help does not need it

    mask = Image.new("L", (400, 400))
    ImageDraw.Draw(mask).polygon([*COLLAR_TO_HEM, *((400 - x, y) for x, y in COLLAR_TO_HEM[::-1])], fill=255)
    fabric = Image.new("RGBA", mask.size, cloth)
    pen = ImageDraw.Draw(fabric)
    for y in range(90, 380, 34):
        pen.rectangle((0, y, 400, y + 11), fill=stripe)
    shirt = Image.new("RGBA", mask.size)
    shirt.paste(fabric, mask=mask)
    file = BytesIO()
    shirt.save(file, "PNG")
    return file.getvalue()


def bomb() -> bytes:
    """A PNG of 110 kB that is sound in every part and unfolds to 900 million pixels."""
    black = bytes((1 + BOMB_SIDE // 8) * 1_000)
    times = BOMB_SIDE // 1_000
    # The block refers to nothing before it, so it may follow itself: nobody has to compress 110 MB.
    checksum = (times * len(black) % 65_521) << 16 | 1
    stream = b"\x78\x9c" + _block(black) * times + b"\x03\x00" + struct.pack("!I", checksum)
    header = struct.pack("!IIBBBBB", BOMB_SIDE, BOMB_SIDE, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + _chunk(b"IDAT", stream) + _chunk(b"IEND", b"")


def _block(data: bytes) -> bytes:
    deflate = zlib.compressobj(9, zlib.DEFLATED, -15)
    return deflate.compress(data) + deflate.flush(zlib.Z_FULL_FLUSH)


def _chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack("!I", len(data)) + name + data + struct.pack("!I", zlib.crc32(name + data))
