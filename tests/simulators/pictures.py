"""The pictures of simulated providers: real, small, and the same for the same text."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from io import BytesIO

from PIL import Image

LONGEST_SIDE = 64
"""Pixels. It is the protocol that is tested; small pictures keep the tests fast."""


@lru_cache(maxsize=256)
def picture(words: str, aspect_ratio: str = "1:1") -> bytes:
    """A PNG in a color made of ``words``, as wide and high as ``aspect_ratio`` says."""
    across, down = (int(number) for number in aspect_ratio.split(":"))
    scale = LONGEST_SIDE / max(across, down)
    color = hashlib.blake2b(words.encode("utf-8", "replace"), digest_size=3).digest()
    file = BytesIO()
    size = max(1, round(across * scale)), max(1, round(down * scale))
    Image.new("RGB", size, (color[0], color[1], color[2])).save(file, "PNG")
    return file.getvalue()
