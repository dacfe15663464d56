"""The local provider's picture: a motif, the input images as prints lying on it, and the prompt as its caption."""

from __future__ import annotations

import hashlib
import math
import re
import unicodedata
from collections.abc import Sequence
from functools import lru_cache
from io import BytesIO

from PIL import Image, ImageDraw, ImageFont

from generation_worker.ports import Picture
from generation_worker.providers.local_motifs import Dice, paint

NOTE = "local preview · not AI"
CAPTION_START = 400
"""Characters of the prompt that are looked at; no more than these fit."""
SPELLINGS = str.maketrans({"–": "-", "—": "-", "ß": "ss", "æ": "ae", "Æ": "AE", "ø": "o", "Ø": "O", "ł": "l", "Ł": "L"})
FOREIGN = re.compile(r"[^ -~«»°±‘’“”‹›™…\s]+")
LINES = 3
UNSPELLABLE = "(words in a script that this preview cannot write)"
PRINTS = 4
LARGEST_CANVAS = 2048
QUALITY = 88
SHADE = (12, 12, 20, 150)

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


def warm_up() -> None:
    draw("warm up", (), (64, 64))


def draw(prompt: str, pictures: Sequence[Picture], size: tuple[int, int]) -> bytes:
    """The picture as a JPEG of ``size`` pixels; the same arguments give the same bytes."""
    dice = Dice(_fingerprint(prompt, pictures))
    image = _smooth(size, dice)
    _lay_prints(image, pictures[:PRINTS], dice)
    pen = ImageDraw.Draw(image, "RGBA")
    _write_caption(pen, prompt, size)
    _write_note(pen, size)
    file = BytesIO()
    image.save(file, "JPEG", quality=QUALITY)
    return file.getvalue()


def _fingerprint(prompt: str, pictures: Sequence[Picture]) -> bytes:
    parts = [prompt.encode(errors="replace"), *(picture.data for picture in pictures)]
    return b"".join(hashlib.sha256(part).digest() for part in parts)


def _smooth(size: tuple[int, int], dice: Dice) -> Image.Image:
    """The motif with soft edges: it is drawn at twice the size where that costs little."""
    scale = min(2.0, LARGEST_CANVAS / max(size))
    large = paint((math.ceil(size[0] * scale), math.ceil(size[1] * scale)), dice)
    if scale == 2.0:
        return large.reduce(2)
    return large if large.size == size else large.resize(size)  # pyright: ignore[reportUnknownMemberType]


def _lay_prints(image: Image.Image, pictures: Sequence[Picture], dice: Dice) -> None:
    """Put the pictures side by side, each a little askew, with a white frame and a shadow."""
    for place, picture in enumerate(pictures):
        width, height = image.width / len(pictures) * 0.72, image.height * 0.52
        printed = _print(picture, (max(1, int(width)), max(1, int(height)))).rotate(
            dice.between(-7, 7), Image.Resampling.BICUBIC, expand=True
        )
        x = round(image.width * (place + 0.5) / len(pictures) - printed.width / 2)
        y = round(image.height * (0.42 + dice.between(-0.03, 0.03)) - printed.height / 2)
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
    """``text`` in the letters that Pillow's own font has: a few more than ASCII's."""
    plain = unicodedata.normalize("NFKD", text.translate(SPELLINGS))
    spelled = FOREIGN.sub("·", "".join(c for c in plain if not unicodedata.combining(c)))
    return spelled if any(c.isalnum() for c in spelled) else UNSPELLABLE


def _write_caption(pen: ImageDraw.ImageDraw, prompt: str, size: tuple[int, int]) -> None:
    width, height = size
    letter = round(math.sqrt(width * height) * 0.036)
    pad = round(letter * 0.8)
    lines = min(LINES, int((height * 0.45 - 2 * pad) / (letter * 1.3)))
    if letter < 8 or lines < 1 or width < 6 * letter:
        return  # nobody could read it
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
    """``text`` in at most ``limit`` lines no longer than ``width`` pixels; what does not fit becomes an ellipsis."""
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
    """How many of ``words`` fit into one line."""
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
