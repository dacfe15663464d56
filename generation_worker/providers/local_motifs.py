"""What the local provider draws behind the words. Lengths are shares of the canvas, so every size looks alike."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence
from typing import TypeVar

from PIL import Image, ImageDraw

Color = tuple[int, int, int]
Point = tuple[float, float]
T = TypeVar("T")

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


class Dice:
    """Numbers that depend on a text and nothing else: on no seed of the process, on no version of Python."""

    def __init__(self, text: bytes) -> None:
        self._text = hashlib.blake2b(text).digest()
        self._thrown = 0

    def between(self, low: float, high: float) -> float:
        self._thrown += 1
        digest = hashlib.blake2b(self._text, digest_size=4, salt=self._thrown.to_bytes(16)).digest()
        return low + (high - low) * int.from_bytes(digest) / 2**32

    def one_of(self, choices: Sequence[T]) -> T:
        return choices[int(self.between(0, len(choices)))]


def paint(size: tuple[int, int], dice: Dice) -> Image.Image:
    """A soft background and one motif on it, in five colors from dark to light."""
    palette = [_color(text) for text in dice.one_of(PALETTES).split()]
    image = _background(size, palette, dice)
    dice.one_of(MOTIFS)(ImageDraw.Draw(image, "RGBA"), size, palette, dice)
    return image


def _color(text: str) -> Color:
    red, green, blue = bytes.fromhex(text)
    return red, green, blue


def _background(size: tuple[int, int], palette: Sequence[Color], dice: Dice) -> Image.Image:
    """A few large pixels, blurred into each other by being enlarged."""
    coarse = Image.new("RGB", (3, 3))
    for x in range(3):
        for y in range(3):
            coarse.putpixel((x, y), dice.one_of(palette[max(0, 1 - y) : 5 - y]))
    return coarse.resize(size, Image.Resampling.BICUBIC)  # pyright: ignore[reportUnknownMemberType]


def _dunes(draw: ImageDraw.ImageDraw, size: tuple[int, int], palette: Sequence[Color], dice: Dice) -> None:
    """A sun, and waves of sand before it, the nearest the darkest."""
    width, height = size
    _disc(draw, (width * dice.between(0.2, 0.8), height * 0.3), 0.11 * min(size), (*palette[4], 235))
    for layer, color in enumerate(reversed(palette[:4])):
        base, swing = height * (0.42 + 0.13 * layer), height * dice.between(0.03, 0.07)
        waves, phase = dice.between(0.6, 1.7), dice.between(0, math.tau)
        top = [(width * step / 48, base + swing * math.sin(phase + waves * math.tau * step / 48)) for step in range(49)]
        draw.polygon([*top, (width, height), (0, height)], fill=(*color, 225))


def _rings(draw: ImageDraw.ImageDraw, size: tuple[int, int], palette: Sequence[Color], dice: Dice) -> None:
    """Circles around one point, as after a stone fell into water."""
    width, height = size
    center = (width * dice.between(0.3, 0.7), height * dice.between(0.3, 0.6))
    radius = max(size) * dice.between(0.6, 0.75)
    while radius > 0.03 * min(size):
        _disc(draw, center, radius, (*dice.one_of(palette), 120))
        radius *= dice.between(0.72, 0.88)
    _disc(draw, center, radius, (*palette[4], 255))


def _lights(draw: ImageDraw.ImageDraw, size: tuple[int, int], palette: Sequence[Color], dice: Dice) -> None:
    """Lights out of focus."""
    for _ in range(34):
        center = (size[0] * dice.between(0, 1), size[1] * dice.between(0, 1))
        radius, color = min(size) * dice.between(0.02, 0.16), dice.one_of(palette[2:])
        _disc(draw, center, radius, (*color, 60))
        _disc(draw, center, radius * 0.86, (*color, 70))


def _rays(draw: ImageDraw.ImageDraw, size: tuple[int, int], palette: Sequence[Color], dice: Dice) -> None:
    """A sun and its rays."""
    width, height = size
    center = (width * dice.between(0.25, 0.75), height * dice.between(0.45, 0.7))
    count, turn, far = int(dice.between(9, 16)), dice.between(0, math.tau), math.hypot(*size)
    for ray in range(count):
        angles = (turn + math.tau * ray / count, turn + math.tau * (ray + 0.5) / count)
        ends = [(center[0] + far * math.cos(angle), center[1] + far * math.sin(angle)) for angle in angles]
        draw.polygon([center, *ends], fill=(*palette[3 + ray % 2], 120))
    radius = min(size) * dice.between(0.12, 0.26)
    for share, color in ((1.0, palette[3]), (0.8, palette[4])):
        _disc(draw, center, radius * share, (*color, 255))


def _tiles(draw: ImageDraw.ImageDraw, size: tuple[int, int], palette: Sequence[Color], dice: Dice) -> None:
    """Quarter circles, each in its own square and turned at random."""
    side = max(size) / int(dice.between(5, 8))
    for column in range(math.ceil(size[0] / side)):
        for row in range(math.ceil(size[1] / side)):
            x, y = column * side, row * side
            draw.rectangle((x, y, x + side, y + side), fill=(*dice.one_of(palette), 150))
            corner = dice.one_of(((0, 0), (1, 0), (1, 1), (0, 1)))
            center, start = (x + side * corner[0], y + side * corner[1]), 90 * (2 * corner[1] + (corner[0] ^ corner[1]))
            for share in (1.0, 0.5):
                box = _box(center, side * share)
                draw.pieslice(box, start, start + 90, fill=(*dice.one_of(palette), 230))


def _ribbons(draw: ImageDraw.ImageDraw, size: tuple[int, int], palette: Sequence[Color], dice: Dice) -> None:
    """Bands that swing across, side by side."""
    width, height = size
    thick, swing = height * 0.075, height * dice.between(0.05, 0.16)
    waves, phase = dice.between(0.5, 1.2), dice.between(0, math.tau)
    for band in range(8):
        middle, color = height * (0.08 + 0.12 * band), dice.one_of(palette)
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


MOTIFS: tuple[Callable[[ImageDraw.ImageDraw, tuple[int, int], Sequence[Color], Dice], None], ...] = (
    _dunes,
    _rings,
    _lights,
    _rays,
    _tiles,
    _ribbons,
)
