"""Draws the local provider's picture: a motif, the input images as prints on it, and the prompt as its caption.

Lengths are shares of the canvas, so a picture looks the same in every size.
"""

from __future__ import annotations

import hashlib
import math
import re
import unicodedata
from collections.abc import Callable, Sequence
from functools import lru_cache
from io import BytesIO
from typing import TypeVar

from PIL import Image, ImageDraw, ImageFont

from generation_worker.ports import Picture

Color = tuple[int, int, int]
Point = tuple[float, float]
Font = ImageFont.FreeTypeFont | ImageFont.ImageFont
T = TypeVar("T")

NOTE = "local preview · not AI"
CAPTION_START = 400
"""Characters of the prompt that are used; more do not fit."""
SPELLINGS = str.maketrans({"–": "-", "—": "-", "ß": "ss", "æ": "ae", "Æ": "AE", "ø": "o", "Ø": "O", "ł": "l", "Ł": "L"})
FOREIGN = re.compile(r"[^ -~«»°±‘’“”‹›™…\s]+")
LINES = 3
UNSPELLABLE = "(words in a script that this preview cannot write)"
PRINTS = 4
LARGEST_CANVAS = 2048
QUALITY = 88
SHADE = (12, 12, 20, 150)
PALETTES = (
    "0b132b 1c2541 3a506b 5bc0be f2f4f3",
    "2d1e2f 76335a d8456b f58549 f7d08a",
    "14213d 274690 576ca8 fca311 f5f3f5",
    "1b4332 2d6a4f 74a57f d8f3dc ffb703",
    "3d2c2e 8e443d cb9173 e0d68a f4efe6",
    "22223b 4a4e69 9a8c98 c9ada7 f2e9e4",
    "10002b 3c096c 7b2cbf ff6d9e ffd6e0",
    "003049 00606f 2a9d8f e9c46a f4f1de",
    "370617 9d0208 dc2f02 f48c06 ffdd8c",
    "012a4a 2a6f97 61a5c2 a9d6e5 ffe5d9",
)


def warm_up() -> None:
    draw("warm up", (), (64, 64))


def draw(prompt: str, pictures: Sequence[Picture], size: tuple[int, int]) -> bytes:
    """The picture as a JPEG of ``size`` pixels; the same arguments give the same bytes."""
    random = SeededRandom(_fingerprint(prompt, pictures))
    image = _smooth(size, random)
    _lay_prints(image, pictures[:PRINTS], random)
    pen = ImageDraw.Draw(image, "RGBA")
    _write_caption(pen, prompt, size)
    _write_note(pen, size)
    file = BytesIO()
    image.save(file, "JPEG", quality=QUALITY)
    return file.getvalue()


def _fingerprint(prompt: str, pictures: Sequence[Picture]) -> bytes:
    parts = [prompt.encode(errors="replace"), *(picture.data for picture in pictures)]
    return b"".join(hashlib.sha256(part).digest() for part in parts)


def _smooth(size: tuple[int, int], random: SeededRandom) -> Image.Image:
    """The motif with smooth edges: drawn at twice the size where that is cheap."""
    scale = min(2.0, LARGEST_CANVAS / max(size))
    large = paint((math.ceil(size[0] * scale), math.ceil(size[1] * scale)), random)
    if scale == 2.0:
        return large.reduce(2)
    return large if large.size == size else large.resize(size)  # pyright: ignore[reportUnknownMemberType]


def _lay_prints(image: Image.Image, pictures: Sequence[Picture], random: SeededRandom) -> None:
    """Put the pictures side by side, each slightly rotated, with a white frame and a shadow."""
    for place, picture in enumerate(pictures):
        width, height = image.width / len(pictures) * 0.72, image.height * 0.52
        printed = _print(picture, (max(1, int(width)), max(1, int(height)))).rotate(
            random.between(-7, 7), Image.Resampling.BICUBIC, expand=True
        )
        x = round(image.width * (place + 0.5) / len(pictures) - printed.width / 2)
        y = round(image.height * (0.42 + random.between(-0.03, 0.03)) - printed.height / 2)
        mask = printed.getchannel("A")
        offset = max(1, min(image.size) // 90)
        image.paste((0, 0, 0), (x + offset, y + offset), mask.point([value // 3 for value in range(256)]))  # pyright: ignore[reportUnknownMemberType]
        image.paste(printed, (x, y), mask)


def _print(picture: Picture, box: tuple[int, int]) -> Image.Image:
    with Image.open(BytesIO(picture.data), formats=["PNG", "JPEG"]) as image:
        image.thumbnail(box)
        frame = max(2, max(image.size) // 28)
        printed = Image.new("RGBA", (image.width + 2 * frame, image.height + 2 * frame), "white")
        colors = image.convert("RGBA")
        printed.alpha_composite(colors, (frame, frame))
    return printed


def _spelled(text: str) -> str:
    """``text`` in the letters that Pillow's built-in font has: a few more than ASCII."""
    plain = unicodedata.normalize("NFKD", text.translate(SPELLINGS))
    spelled = FOREIGN.sub("·", "".join(c for c in plain if not unicodedata.combining(c)))
    return spelled if any(c.isalnum() for c in spelled) else UNSPELLABLE


def _write_caption(pen: ImageDraw.ImageDraw, prompt: str, size: tuple[int, int]) -> None:
    width, height = size
    letter = round(math.sqrt(width * height) * 0.036)
    pad = round(letter * 0.8)
    lines = min(LINES, int((height * 0.45 - 2 * pad) / (letter * 1.3)))
    if letter < 8 or lines < 1 or width < 6 * letter:
        return  # too small to read
    font = _font(letter)
    text = _wrapped(_spelled(prompt[:CAPTION_START]), font, width - 4 * pad, lines)
    top = round(height - 3 * pad - len(text) * letter * 1.3)
    pen.rounded_rectangle((pad, top, width - pad, height - pad), radius=letter // 2, fill=SHADE)
    for number, line in enumerate(text):
        pen.text((2 * pad, top + pad + number * letter * 1.3), line, font=font, fill="white")


def _write_note(pen: ImageDraw.ImageDraw, size: tuple[int, int]) -> None:
    letter = min(max(9, round(math.sqrt(size[0] * size[1]) * 0.022)), round(size[0] / 12))
    if letter < 6:
        return
    font = _font(letter)
    right, top, length = size[0] - letter, round(letter * 0.8), round(font.getlength(NOTE))
    box = (right - length - letter, top, right, top + round(letter * 1.7))
    pen.rounded_rectangle(box, radius=letter * 4 // 5, fill=SHADE)
    pen.text((right - length - letter // 2, top + letter // 5), NOTE, font=font, fill=(255, 255, 255, 230))


def _wrapped(text: str, font: Font, width: float, limit: int) -> list[str]:
    """``text`` in at most ``limit`` lines of at most ``width`` pixels; the rest becomes an ellipsis."""
    lines: list[str] = []
    words = text.split()
    while words and len(lines) < limit:
        count = _fitting(words, font, width)
        lines.append(" ".join(words[:count]) or words.pop(0))
        del words[:count]
    if words:
        lines[-1] += "…"
    return [_cut(line, font, width) for line in lines]


def _fitting(words: Sequence[str], font: Font, width: float) -> int:
    """The number of ``words`` that fit into one line."""
    used, gap = 0.0, font.getlength(" ")
    for count, word in enumerate(words):
        used += font.getlength(word) + (gap if count else 0.0)
        if used > width:
            return count
    return len(words)


def _cut(line: str, font: Font, width: float) -> str:
    if font.getlength(line) <= width:
        return line
    kept = line.removesuffix("…")
    while kept and font.getlength(kept + "…") > width:
        kept = kept[:-1]
    return kept + "…"


@lru_cache(maxsize=16)
def _font(letter: int) -> Font:
    return ImageFont.load_default(letter)


def paint(size: tuple[int, int], random: SeededRandom) -> Image.Image:
    """A soft background with one motif, in five colors from dark to light."""
    palette = [_color(text) for text in random.one_of(PALETTES).split()]
    image = _background(size, palette, random)
    random.one_of(MOTIFS)(ImageDraw.Draw(image, "RGBA"), size, palette, random)
    return image


def _color(text: str) -> Color:
    red, green, blue = bytes.fromhex(text)
    return red, green, blue


def _background(size: tuple[int, int], palette: Sequence[Color], random: SeededRandom) -> Image.Image:
    """A few pixels, enlarged until they blur into each other."""
    coarse = Image.new("RGB", (3, 3))
    for x in range(3):
        for y in range(3):
            coarse.putpixel((x, y), random.one_of(palette[max(0, 1 - y) : 5 - y]))
    return coarse.resize(size, Image.Resampling.BICUBIC)  # pyright: ignore[reportUnknownMemberType]


def _dunes(draw: ImageDraw.ImageDraw, size: tuple[int, int], palette: Sequence[Color], random: SeededRandom) -> None:
    """A sun behind waves of sand, the nearest the darkest."""
    width, height = size
    _disc(draw, (width * random.between(0.2, 0.8), height * 0.3), 0.11 * min(size), (*palette[4], 235))
    for layer, color in enumerate(reversed(palette[:4])):
        base, swing = height * (0.42 + 0.13 * layer), height * random.between(0.03, 0.07)
        waves, phase = random.between(0.6, 1.7), random.between(0, math.tau)
        top = [(width * step / 48, base + swing * math.sin(phase + waves * math.tau * step / 48)) for step in range(49)]
        draw.polygon([*top, (width, height), (0, height)], fill=(*color, 225))


def _rings(draw: ImageDraw.ImageDraw, size: tuple[int, int], palette: Sequence[Color], random: SeededRandom) -> None:
    """Circles around one point."""
    width, height = size
    center = (width * random.between(0.3, 0.7), height * random.between(0.3, 0.6))
    radius = max(size) * random.between(0.6, 0.75)
    while radius > 0.03 * min(size):
        _disc(draw, center, radius, (*random.one_of(palette), 120))
        radius *= random.between(0.72, 0.88)
    _disc(draw, center, radius, (*palette[4], 255))


def _lights(draw: ImageDraw.ImageDraw, size: tuple[int, int], palette: Sequence[Color], random: SeededRandom) -> None:
    """Lights out of focus."""
    for _ in range(34):
        center = (size[0] * random.between(0, 1), size[1] * random.between(0, 1))
        radius, color = min(size) * random.between(0.02, 0.16), random.one_of(palette[2:])
        _disc(draw, center, radius, (*color, 60))
        _disc(draw, center, radius * 0.86, (*color, 70))


def _rays(draw: ImageDraw.ImageDraw, size: tuple[int, int], palette: Sequence[Color], random: SeededRandom) -> None:
    """A sun and its rays."""
    width, height = size
    center = (width * random.between(0.25, 0.75), height * random.between(0.45, 0.7))
    count, turn, far = int(random.between(9, 16)), random.between(0, math.tau), math.hypot(*size)
    for ray in range(count):
        angles = (turn + math.tau * ray / count, turn + math.tau * (ray + 0.5) / count)
        ends = [(center[0] + far * math.cos(angle), center[1] + far * math.sin(angle)) for angle in angles]
        draw.polygon([center, *ends], fill=(*palette[3 + ray % 2], 120))
    radius = min(size) * random.between(0.12, 0.26)
    for share, color in ((1.0, palette[3]), (0.8, palette[4])):
        _disc(draw, center, radius * share, (*color, 255))


def _tiles(draw: ImageDraw.ImageDraw, size: tuple[int, int], palette: Sequence[Color], random: SeededRandom) -> None:
    """Quarter circles, each in its own square and turned at random."""
    side = max(size) / int(random.between(5, 8))
    for column in range(math.ceil(size[0] / side)):
        for row in range(math.ceil(size[1] / side)):
            x, y = column * side, row * side
            draw.rectangle((x, y, x + side, y + side), fill=(*random.one_of(palette), 150))
            corner = random.one_of(((0, 0), (1, 0), (1, 1), (0, 1)))
            center, start = (x + side * corner[0], y + side * corner[1]), 90 * (2 * corner[1] + (corner[0] ^ corner[1]))
            for share in (1.0, 0.5):
                box = _box(center, side * share)
                draw.pieslice(box, start, start + 90, fill=(*random.one_of(palette), 230))


def _ribbons(draw: ImageDraw.ImageDraw, size: tuple[int, int], palette: Sequence[Color], random: SeededRandom) -> None:
    """Parallel waves across the picture."""
    width, height = size
    thick, swing = height * 0.075, height * random.between(0.05, 0.16)
    waves, phase = random.between(0.5, 1.2), random.between(0, math.tau)
    for band in range(8):
        middle, color = height * (0.08 + 0.12 * band), random.one_of(palette)
        line = [
            (width * x / 48, middle + swing * math.sin(phase + band * 0.35 + waves * math.tau * x / 48))
            for x in range(-1, 50)
        ]
        below = [(x, y + thick) for x, y in reversed(line)]
        draw.polygon([*line, *below], fill=(*color, 215))


def _disc(draw: ImageDraw.ImageDraw, center: Point, radius: float, fill: tuple[int, int, int, int]) -> None:
    draw.ellipse(_box(center, radius), fill=fill)


def _box(center: Point, radius: float) -> tuple[float, float, float, float]:
    return center[0] - radius, center[1] - radius, center[0] + radius, center[1] + radius


MOTIFS: tuple[Callable[[ImageDraw.ImageDraw, tuple[int, int], Sequence[Color], SeededRandom], None], ...] = (
    _dunes,
    _rings,
    _lights,
    _rays,
    _tiles,
    _ribbons,
)


class SeededRandom:
    """Random numbers that depend only on a text, neither on the process's seed nor on the version of Python."""

    def __init__(self, text: bytes) -> None:
        self._text = hashlib.blake2b(text).digest()
        self._drawn = 0

    def between(self, low: float, high: float) -> float:
        self._drawn += 1
        digest = hashlib.blake2b(self._text, digest_size=4, salt=self._drawn.to_bytes(16)).digest()
        return low + (high - low) * int.from_bytes(digest) / 2**32

    def one_of(self, choices: Sequence[T]) -> T:
        return choices[int(self.between(0, len(choices)))]
