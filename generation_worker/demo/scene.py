"""What happens in the demo, as data: who asks for what, and what must come of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from typing import Any

from generation_worker.db.enqueue import EnqueueRequest
from generation_worker.demo.inputs import BOMB, NOT_AN_IMAGE, Inputs
from generation_worker.domain.job import Status

FAULTS = (
    "stormy=unavailable*2, throttled=limited:1s*2, forbidden=blocked, silent=timeout, garbled=not_an_image*1, "
    "endless=slow:10m"
)
"""LOCAL_FAULTS: which words in a prompt make the local provider misbehave, and how."""
PRICES = {"price.text_to_image": 1, "price.image_conversion": 2, "price.image_processing": 0}

STUDIO = "studio"
GRANTS = {STUDIO: 250, "boutique": 30, "walt": 5, "xena": 1}
"""Credits at the beginning; everybody else has FIVE_CREDITS."""
FIVE_CREDITS = 5


@dataclass(frozen=True, slots=True)
class Expected:
    """What must have become of a job. A job that costs is debited, and refunded unless it is completed."""

    status: Status = "completed"
    error_code: str | None = None
    attempts: int = 1
    waits: int = 0
    calls: int = 1
    paid: int = 1
    """Calls that the provider charges for, or may have: nobody knows when one was cut off."""
    debited: bool = True


DONE = Expected()
DONE_HERE = Expected(calls=0, paid=0)
"""Without a provider."""


@dataclass(frozen=True, slots=True)
class Act:
    """Requests of which the same is expected. ``why`` explains, in a few words, what came of them."""

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
    """Whatever goes wrong at the provider."""
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
    """Whatever is wrong with a request."""
    rejected = Expected("failed", "input_rejected", calls=0, paid=0)
    yield Act("an input that is no image", "looked at before the provider is paid; refunded", (
        _edit("tess", NOT_AN_IMAGE, "Remove the tourists"),), rejected)  # fmt: skip
    yield Act("a PNG of 900 megapixels", "refused unopened, in a process of its own; refunded", (
        _edit("zoe", BOMB, "Make it brighter"),), rejected)  # fmt: skip
    yield Act("asked twice with one key", "one job, one debit", (
        _edit("vera", inputs.portraits[0], "As an oil painting", key="order-4711"),), twice=True)  # fmt: skip
    yield Act("credits gone before the start", "the claim refuses what cannot be paid; nothing debited", (
        _picture("walt", "A castle of gold"),), Expected("failed", "insufficient_credits", 0, calls=0, paid=0,
        debited=False), takes_away=5)  # fmt: skip
    yield Act("more than the balance", "refused when asked", (
        _picture("xena", "A fleet of airships", count=4),), refused="insufficient_credits")  # fmt: skip
    yield Act("a placeholder without an input", "refused when asked, by name", (
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
    return Act("users with one job each", "each starts next, whoever else is waiting", tuple(requests), late=True)


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
