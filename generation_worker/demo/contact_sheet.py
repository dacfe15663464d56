"""All images of the scene on one sheet, in the order in which they were finished."""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw, ImageFont

from generation_worker.demo.report import Outcome
from generation_worker.ports import Storage

COLUMNS = 16
PICTURE = 120
CAPTION = 18
GAP = 6
HEAD = 44
PAPER, INK, MARK = (250, 249, 246), (60, 60, 66), (214, 84, 44)


def write_contact_sheet(path: Path, outcomes: Sequence[Outcome], storage: Storage, marked: set[str]) -> None:
    """One WebP with the completed images; the users in ``marked`` have a frame."""
    done = sorted((outcome for outcome in outcomes if outcome.image), key=lambda outcome: outcome.finished_as)
    rows = -(-len(done) // COLUMNS)
    cell = (PICTURE + GAP, PICTURE + CAPTION + GAP)
    sheet = Image.new("RGB", (GAP + COLUMNS * cell[0], HEAD + max(rows, 1) * cell[1]), PAPER)
    pen = ImageDraw.Draw(sheet)
    title = f"{len(done)} images in the order in which they were finished; framed: users with one job"
    pen.text((GAP * 2, 12), title, font=_font(19), fill=INK)
    for n, outcome in enumerate(done):
        corner = (GAP + n % COLUMNS * cell[0], HEAD + n // COLUMNS * cell[1])
        _paste(sheet, corner, outcome, storage)
        _write(pen, corner, f"{n + 1} {outcome.user_id}", framed=outcome.user_id in marked)
    sheet.save(path, "WEBP", quality=80)


def _paste(sheet: Image.Image, corner: tuple[int, int], outcome: Outcome, storage: Storage) -> None:
    assert outcome.image is not None
    data = _smallest(outcome.image, storage)
    if data is None:
        return
    with Image.open(BytesIO(data)) as image:
        image.thumbnail((PICTURE, PICTURE))
        picture = image.convert("RGBA")
    place = (corner[0] + (PICTURE - picture.width) // 2, corner[1] + (PICTURE - picture.height) // 2)
    sheet.paste(picture, place, picture)


def _smallest(image: dict[str, Any], storage: Storage) -> bytes | None:
    return storage.get(image["thumbnail_key"] or image["key"])


def _write(pen: ImageDraw.ImageDraw, corner: tuple[int, int], text: str, *, framed: bool) -> None:
    x, y = corner
    if framed:
        pen.rectangle((x - 3, y - 3, x + PICTURE + 2, y + PICTURE + CAPTION - 1), outline=MARK, width=3)
    pen.text((x + 2, y + PICTURE + 1), text, font=_font(12), fill=MARK if framed else INK)


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)
