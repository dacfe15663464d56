"""The scene as data: the acts with their requests and expected outcomes, and the files that the requests use."""

import struct
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from itertools import product
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw

from generation_worker.config import ConfigurationError
from generation_worker.db.enqueue import EnqueueRequest
from generation_worker.domain.errors import InputRejected
from generation_worker.domain.job import Status
from generation_worker.images.tools import ImageTools

SHIPPED = Path(__file__).parent / "photos"
"""The README there names the photographers."""
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
    """The input files of the scene: the person's own photographs if any are given, else ours.

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
    """A valid PNG of 110 kB that unfolds to 900 million pixels."""
    black = bytes((1 + BOMB_SIDE // 8) * 1_000)
    times = BOMB_SIDE // 1_000
    # The block refers to nothing before it, so it may follow itself, and only 1 MB is compressed.
    checksum = (times * len(black) % 65_521) << 16 | 1
    stream = b"\x78\x9c" + _block(black) * times + b"\x03\x00" + struct.pack("!I", checksum)
    header = struct.pack("!IIBBBBB", BOMB_SIDE, BOMB_SIDE, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + _chunk(b"IDAT", stream) + _chunk(b"IEND", b"")


def _block(data: bytes) -> bytes:
    deflate = zlib.compressobj(9, zlib.DEFLATED, -15)
    return deflate.compress(data) + deflate.flush(zlib.Z_FULL_FLUSH)


def _chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack("!I", len(data)) + name + data + struct.pack("!I", zlib.crc32(name + data))


FAULTS = (
    "stormy=unavailable*2, throttled=limited:1s*2, forbidden=blocked, silent=timeout, garbled=not_an_image*1, "
    "endless=slow:10m"
)
"""LOCAL_FAULTS: words in a prompt, and the fault that each makes the local provider simulate."""
PRICES = {"price.text_to_image": 1, "price.image_conversion": 2, "price.image_processing": 0}

STUDIO = "studio"
GRANTS = {STUDIO: 250, "boutique": 30, "walt": 5, "xena": 1}
"""Credits at the beginning; everybody else has FIVE_CREDITS."""
FIVE_CREDITS = 5


@dataclass(frozen=True, slots=True)
class Expected:
    """The expected outcome of a job. A job that costs is debited, and refunded unless it is completed."""

    status: Status = "completed"
    error_code: str | None = None
    attempts: int = 1
    waits: int = 0
    calls: int = 1
    paid: int = 1
    """Calls that the provider charges for, or may have: for one that was cut off that is unknown."""
    debited: bool = True


DONE = Expected()
DONE_HERE = Expected(calls=0, paid=0)
"""Without a provider."""


@dataclass(frozen=True, slots=True)
class Act:
    """Requests with the same expected outcome, which ``why`` explains in a few words."""

    title: str
    why: str
    requests: tuple[EnqueueRequest, ...]
    expected: Expected = DONE
    late: bool = False
    """It comes one request at a time, while the worker is busy with the others."""
    twice: bool = False
    """Each request is made twice with the same idempotency key."""
    cancelled: bool = False
    """Each job is cancelled while it runs."""
    takes_away: int = 0
    """Credits that the users lose between their request and its start."""
    refused: str | None = None
    """The code with which the requests are refused, so that there is no job."""


def scene(inputs: Inputs) -> list[Act]:
    """The acts in their order."""
    return [_two_hundred(), _conversions(inputs), _processing(inputs), *_troubles(), *_money(inputs), _singles(inputs)]


def _two_hundred() -> Act:
    animals = ("fox", "heron", "otter", "hare", "lynx", "owl", "badger", "stag", "crane", "hedgehog")
    doings = ("asleep", "dancing", "reading", "far from home")
    places = ("in a birch forest", "on a pier at dawn", "under the northern lights", "in a city of glass", "by a lake")
    requests = [
        _picture(STUDIO, "A postcard: {{animal}}, {{doing}}, {{place}}", animal=f"a {animal}", doing=doing, place=place)
        for doing, place, animal in product(doings, places, animals)
    ]
    return Act("two hundred postcards", "one user's crowd, worked on between everybody else's", tuple(requests))


def _conversions(inputs: Inputs) -> Act:
    styles = ("studio light", "film, 1972", "street, noon", "watercolor")
    requests = [
        _conversion("boutique", portrait, garment, style=styles[n % len(styles)])
        for n, (garment, portrait) in enumerate(_twelve(inputs.garments, inputs.portraits))
    ]
    return Act("try-on of garments", "a photograph and a garment each, two credits each", tuple(requests))


def _processing(inputs: Inputs) -> Act:
    operations: tuple[dict[str, Any], ...] = (
        {"type": "resize", "width": 320},
        {"type": "resize", "width": 300, "height": 300, "fit": "cover"},
        {"type": "thumbnail", "size": 128},
        {"type": "convert", "format": "png"},
    )
    photos = (*inputs.portraits, *inputs.views)
    requests = [
        _job("newspaper", "image_processing", image={"key": photo}, operations=[operation])
        for operation, photo in _twelve(operations, photos)
    ]
    return Act("resize, crop and convert", "done here: no provider, no price", tuple(requests), DONE_HERE)


def _troubles() -> Iterator[Act]:
    """Faults of the provider."""
    yield Act("a provider that is down twice", "two answers 503, tried again after each", (
        _picture("olga", "A stormy sea"),), Expected(attempts=3, calls=3))  # fmt: skip
    yield Act("a rate limit", "two answers 429, waited for; no attempt used up", (
        _picture("pedro", "A throttled engine, steam all around"),), Expected(waits=2, calls=3))  # fmt: skip
    yield Act("a web page instead of an image", "paid, useless, asked once more", (
        _picture("rosa", "A garbled radio message"),), Expected(attempts=2, calls=2, paid=2))  # fmt: skip
    yield Act("paid calls without an answer", "two paid calls are the limit; refunded", (
        _picture("sam", "A silent film"),), Expected("failed", "paid_calls_exhausted", 3, calls=2, paid=2))  # fmt: skip
    yield Act("a picture the provider blocks", "not tried again; refunded", (
        _picture("quinn", "A forbidden garden"),), Expected("failed", "content_blocked", paid=0))  # fmt: skip
    yield Act("cancelled while it runs", "stopped in the middle of its call; refunded", (
        _picture("uma", "An endless staircase"),), Expected("cancelled"), cancelled=True)  # fmt: skip


def _money(inputs: Inputs) -> Iterator[Act]:
    """Faults of requests."""
    rejected = Expected("failed", "input_rejected", calls=0, paid=0)
    yield Act("an input that is no image", "checked before the provider is paid; refunded", (
        _edit("tess", NOT_AN_IMAGE, "Remove the tourists"),), rejected)  # fmt: skip
    yield Act("a PNG of 900 megapixels", "refused unopened, in a process of its own; refunded", (
        _edit("zoe", BOMB, "Make it brighter"),), rejected)  # fmt: skip
    yield Act("requested twice with one key", "one job, one debit", (
        _edit("vera", inputs.portraits[0], "As an oil painting", key="order-4711"),), twice=True)  # fmt: skip
    yield Act("credits gone before the start", "the claim refuses what cannot be paid; nothing debited", (
        _picture("walt", "A castle of gold"),), Expected("failed", "insufficient_credits", 0, calls=0, paid=0,
        debited=False), takes_away=5)  # fmt: skip
    yield Act("more than the balance", "refused when enqueued", (
        _picture("xena", "A fleet of airships", count=4),), refused="insufficient_credits")  # fmt: skip
    yield Act("a placeholder without an input", "refused when enqueued, by name", (
        _picture("yuri", "A portrait of {{name}}"),), refused="invalid_payload")  # fmt: skip


def _singles(inputs: Inputs) -> Act:
    """Twelve users with one job each, who come while the studio's crowd is waiting."""
    subjects = ("a lighthouse", "a violin", "a red kite", "a tea house", "an old tram", "a desert in bloom")
    names = ("ada", "ben", "chloe", "dev", "elif", "finn", "gita", "hugo", "ines", "jomo", "kaya", "liam")
    photos = (*inputs.views, *inputs.portraits)
    requests = [
        _picture(name, "{{subject}}, as a linocut", subject=subjects[n // 2])
        if n % 2
        else _edit(name, photos[n // 2 % len(photos)], "The same, as {{style}}", style="a stained glass window")
        for n, name in enumerate(names)
    ]
    return Act("users with one job each", "each starts next, however many others wait", tuple(requests), late=True)


def _picture(
    user: str, prompt: str, *, key: str | None = None, count: int | None = None, **inputs: str
) -> EnqueueRequest:
    return _job(user, "text_to_image", key=key, count=count, prompt=prompt, inputs=inputs)


def _edit(user: str, image: str, prompt: str, *, key: str | None = None, **inputs: str) -> EnqueueRequest:
    return _job(user, "text_to_image", key=key, prompt=prompt, inputs=inputs, images=[{"key": image}])


def _conversion(user: str, portrait: str, garment: str, **options: str) -> EnqueueRequest:
    person, cloth = {"key": portrait}, {"key": garment}
    return _job(user, "image_conversion", user_image=person, cloth_image=cloth, options=options)


def _job(user: str, kind: str, *, key: str | None = None, count: int | None = None, **payload: Any) -> EnqueueRequest:
    return EnqueueRequest(kind=kind, user_id=user, payload=payload, idempotency_key=key, count=count)


def _twelve(first: tuple[Any, ...], second: tuple[Any, ...]) -> list[tuple[Any, Any]]:
    """Twelve pairs, all that there are and then again."""
    pairs = [(a, b) for b in second for a in first]
    return [pairs[n % len(pairs)] for n in range(12)]
