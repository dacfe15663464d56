"""A provider that needs no key and no network: it draws the prompt on the CPU and labels the picture as not AI."""

from __future__ import annotations

import hashlib
import os
import re
import struct
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from threading import Event
from typing import NoReturn, Self

from generation_worker.domain import errors
from generation_worker.domain.finding import Verdict, ok, warning
from generation_worker.ports import Control, Generated, GenerationRequest

PATTERN = re.compile(r"(?P<word>[\w-]+)=(?P<way>\w+)(?::(?P<time>[^*]+))?(?:\*(?P<attempts>[1-9]\d*))?")
TIME = re.compile(r"(?P<number>\d+(?:\.\d+)?)(?P<unit>ms|s|m|h)?")
UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
OOM_KILLED = 137
SIDES = {"512": 512, "1K": 1024, "2K": 2048, "4K": 4096}
"""Longest side of each image size, in pixels."""
SHORTEST_SIDE = 16
"""Pixels."""


class LocalProvider:
    """Draws pictures; the same request gives the same bytes. Safe to use from many threads at once.

    ``delay`` is added to each call, in seconds, so that queues and progress can be watched; ``jitter`` (0 to 1) makes
    it longer or shorter by up to that share. Raises ValueError for a delay or jitter out of range.
    """

    name = "local"
    key_label = "local"
    model = "local-preview"

    def __init__(self, *, delay: float = 0.0, jitter: float = 0.0, faults: Sequence[InjectedFault] = ()) -> None:
        if delay < 0 or not 0 <= jitter <= 1:
            raise ValueError(
                f"delay must not be negative, and jitter must be between 0 and 1, not {delay:g} and {jitter:g}"
            )
        self._delay = delay
        self._jitter = jitter
        self._faults = tuple(faults)

    def warm_up(self) -> None:
        """Load the drawing library and its font."""
        from generation_worker.providers import local_drawing  # noqa: PLC0415 - loads Pillow only when it is used

        local_drawing.warm_up()

    def generate(self, request: GenerationRequest, control: Control) -> Generated:
        """A picture of the prompt and the images. Raises what its faults raise, and ProviderRejected for a bad size."""
        control.check()
        size = _size(request)
        self._wait(request, control)
        data = self._injected(request, control) or _draw(request, size)
        control.check()
        return Generated(data, self.model, usage={"pixels": size[0] * size[1]})

    def check(self, *, seconds: float) -> Verdict:  # noqa: ARG002 - sends no request
        """Draw a picture: the drawing library or its font may be missing or broken."""
        _draw(GenerationRequest("doctor", 1, "doctor"), (SHORTEST_SIDE, SHORTEST_SIDE))
        if self._faults:
            return warning("draws the prompt, and injects the faults of LOCAL_FAULTS", "Remove LOCAL_FAULTS")
        return ok("draws the prompt on the CPU: no key, no network, no AI")

    def _wait(self, request: GenerationRequest, control: Control) -> None:
        if self._delay:
            control.pause(self._delay * (1 + self._jitter * _spread(request)))

    def _injected(self, request: GenerationRequest, control: Control) -> bytes | None:
        """The result of the first fault that applies; None without one, or if it only delays."""
        for fault in self._faults:
            if fault.applies(request.prompt, request.attempt):
                return fault.inject(control)
        return None


def _draw(request: GenerationRequest, size: tuple[int, int]) -> bytes:
    from generation_worker.providers import local_drawing  # noqa: PLC0415 - loads Pillow only when it is used

    return local_drawing.draw(request.prompt, request.images, size)


def _size(request: GenerationRequest) -> tuple[int, int]:
    """Width and height in pixels. Raises ProviderRejected."""
    side = SIDES.get(request.image_size or "512")
    across, _, down = (request.aspect_ratio or "1:1").partition(":")
    if side is None or not (across.isdecimal() and down.isdecimal() and int(across) and int(down)):
        raise errors.ProviderRejected(
            f"no such size or aspect ratio: {request.image_size}, {request.aspect_ratio}; sizes are {', '.join(SIDES)}"
        )
    scale = side / max(int(across), int(down))
    return max(SHORTEST_SIDE, round(int(across) * scale)), max(SHORTEST_SIDE, round(int(down) * scale))


def _spread(request: GenerationRequest) -> float:
    """A number from -1 to 1 that depends on the job and the attempt only."""
    digest = hashlib.blake2b(f"{request.job_id}/{request.attempt}".encode(), digest_size=4).digest()
    return int.from_bytes(digest) / (2**31 - 0.5) - 1


@dataclass(frozen=True, slots=True)
class InjectedFault:
    """A fault that prompts with a certain word trigger, so that retries, refunds and alerts can be tried out.

    The setting is a list of ``word=way`` pairs, separated by commas. With ``*N`` at its end a fault affects the first N
    attempts of a job, else all: ``stormy=unavailable*2,throttled=limited:2s*3,forbidden=blocked``. ``seconds`` is the
    duration of a fault that has one; ``attempts`` is N, or None.
    """

    word: str
    way: str
    seconds: float | None = None
    attempts: int | None = None

    @classmethod
    def parse_all(cls, text: str) -> tuple[Self, ...]:
        """The faults in the setting. Raises ValueError, which names the invalid part and what is allowed."""
        return tuple(cls.parse(part.strip()) for part in text.split(",") if part.strip())

    @classmethod
    def parse(cls, text: str) -> Self:
        found = PATTERN.fullmatch(text)
        if found is None:
            raise ValueError(f"{text!r} is not of the form word=way, word=way:duration or word=way*attempts")
        word, way, time = found["word"], found["way"], found["time"]
        if way not in WAYS:
            raise ValueError(f"{word}: {way!r} is not one of {', '.join(WAYS)}")
        if way == "slow" and time is None:
            raise ValueError(f"{word}: slow needs a duration, such as slow:2s")
        if time is not None and way not in ("slow", "limited"):
            raise ValueError(f"{word}: only slow and limited take a duration, not {way}")
        attempts = int(found["attempts"]) if found["attempts"] else None
        return cls(word, way, None if time is None else _seconds(word, time), attempts)

    def applies(self, prompt: str, attempt: int) -> bool:
        """Whether ``prompt`` contains the whole word, in upper or lower case, and the fault affects this attempt."""
        if self.attempts is not None and attempt > self.attempts:
            return False
        return re.search(rf"(?<![\w-]){re.escape(self.word)}(?![\w-])", prompt, re.IGNORECASE) is not None

    def inject(self, control: Control) -> bytes | None:
        """Raise, hang, exit, or return bytes that are not an image. None means that the call continues as usual."""
        return WAYS[self.way](self, control)

    def __str__(self) -> str:
        return f"the prompt contains {self.word!r}, for which LOCAL_FAULTS injects this fault"


def _seconds(word: str, text: str) -> float:
    found = TIME.fullmatch(text)
    if found is None:
        raise ValueError(f"{word}: {text!r} is not a duration such as 500ms, 2s, 5m or 1h")
    return float(found["number"]) * UNITS[found["unit"] or "s"]


def _unavailable(fault: InjectedFault, _: Control) -> NoReturn:
    raise errors.ProviderUnavailable(f"503: {fault}")


def _rejected(fault: InjectedFault, _: Control) -> NoReturn:
    raise errors.ProviderRejected(f"400: {fault}")


def _blocked(fault: InjectedFault, _: Control) -> NoReturn:
    raise errors.ContentBlocked(f"blocked: {fault}")


def _limited(fault: InjectedFault, _: Control) -> NoReturn:
    raise errors.ProviderLimited(f"429: {fault}", wait=fault.seconds)


def _timeout(fault: InjectedFault, _: Control) -> NoReturn:
    raise errors.ProviderTimedOut(f"no answer: {fault}")


def _no_image(fault: InjectedFault, _: Control) -> NoReturn:
    raise errors.NoImage(f"an answer without an image: {fault}")


def _not_an_image(*_: object) -> bytes:
    return b"<!doctype html><title>502 Bad Gateway</title><h1>502 Bad Gateway</h1>"


def _bomb(*_: object) -> bytes:
    """A PNG whose header announces 900 megapixels."""
    header = struct.pack("!IIBBBBB", 30_000, 30_000, 8, 2, 0, 0, 0)
    pixels = zlib.compress(bytes(100_000))
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + _chunk(b"IDAT", pixels) + _chunk(b"IEND", b"")


def _chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack("!I", len(body)) + name + body + struct.pack("!I", zlib.crc32(name + body))


def _slow(fault: InjectedFault, control: Control) -> None:
    control.pause(fault.seconds or 0.0)


def _hang(*_: object) -> None:
    """Wait for ever and ignore cancellation, as a blocked system call does."""
    Event().wait()


def _exit(*_: object) -> NoReturn:
    """Exit at once and without cleaning up, as a process does that the kernel kills for lack of memory."""
    os._exit(OOM_KILLED)


WAYS: dict[str, Callable[[InjectedFault, Control], bytes | None]] = {
    "unavailable": _unavailable,
    "rejected": _rejected,
    "blocked": _blocked,
    "limited": _limited,
    "timeout": _timeout,
    "no_image": _no_image,
    "not_an_image": _not_an_image,
    "bomb": _bomb,
    "slow": _slow,
    "hang": _hang,
    "exit": _exit,
}
