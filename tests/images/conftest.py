"""Test images, made in memory. The results of ``tools`` come from real child processes."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Iterator
from io import BytesIO
from typing import Any

import pytest
from PIL import Image

from generation_worker.images.tools import ImageTools

Save = Callable[..., bytes]
Load = Callable[[bytes], Image.Image]


@pytest.fixture(scope="session")
def tools() -> Iterator[ImageTools]:
    tools = ImageTools(2)
    yield tools
    tools.close()


@pytest.fixture(scope="session")
def save() -> Save:
    """``save(image, "PNG", …)`` is the file."""

    def save(image: Image.Image, kind: str, **settings: Any) -> bytes:
        file = BytesIO()
        image.save(file, kind, **settings)
        return file.getvalue()

    return save


@pytest.fixture(scope="session")
def load() -> Load:
    """``load(data)`` is the image, with its pixels."""

    def load(data: bytes) -> Image.Image:
        image = Image.open(BytesIO(data))
        image.load()
        return image

    return load


@pytest.fixture(scope="session")
def photo() -> Image.Image:
    """200 × 100, red on the left and blue on the right."""
    image = Image.new("RGB", (200, 100), (255, 0, 0))
    image.paste((0, 0, 255), (100, 0, 200, 100))
    return image


@pytest.fixture(scope="session")
def bomb() -> bytes:
    """A PNG of 900 megapixels in 110 kB, all of which are there."""
    rows = zlib.compressobj(9)
    row = b"\0" + bytes(30_000 // 8)
    pixels = b"".join(rows.compress(row) for _ in range(30_000)) + rows.flush()
    header = struct.pack("!IIBBBBB", 30_000, 30_000, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + _chunk(b"IDAT", pixels) + _chunk(b"IEND", b"")


def _chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack("!I", len(body)) + name + body + struct.pack("!I", zlib.crc32(name + body))
