"""Misbehaviour on request, so that retries, refunds and alarms can be watched without a provider.

``word=way`` pairs, separated by commas: a prompt that contains the word meets the fault, on its first N attempts if
the way ends in ``*N``, else always. ``stormy=unavailable*2,throttled=limited:2s*3,forbidden=blocked``
"""

from __future__ import annotations

import os
import re
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from threading import Event
from typing import NoReturn, Self

from generation_worker.domain.errors import (
    ContentBlocked,
    NoImage,
    ProviderLimited,
    ProviderRejected,
    ProviderTimedOut,
    ProviderUnavailable,
)
from generation_worker.ports import Control

PATTERN = re.compile(r"(?P<word>[\w-]+)=(?P<way>\w+)(?::(?P<time>[^*]+))?(?:\*(?P<attempts>[1-9]\d*))?")
TIME = re.compile(r"(?P<number>\d+(?:\.\d+)?)(?P<unit>ms|s|m|h)?")
UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
OOM_KILLED = 137


@dataclass(frozen=True, slots=True)
class Fault:
    """One way to fail. ``seconds`` is its duration, if it has one; ``attempts`` is None if it never gets better."""

    word: str
    way: str
    seconds: float | None = None
    attempts: int | None = None

    @classmethod
    def parse_all(cls, text: str) -> tuple[Self, ...]:
        """The faults in a setting. Raises ValueError, naming the word that is wrong and what is allowed."""
        return tuple(cls.parse(part.strip()) for part in text.split(",") if part.strip())

    @classmethod
    def parse(cls, text: str) -> Self:
        found = PATTERN.fullmatch(text)
        if found is None:
            raise ValueError(f"{text!r} is not of the form word=way, word=way:duration or word=way*attempts")
        word, way, time = found["word"], found["way"], found["time"]
        if way not in WAYS:
            raise ValueError(f"{word}: {way!r} is none of {', '.join(WAYS)}")
        if way == "slow" and time is None:
            raise ValueError(f"{word}: slow needs a duration, such as slow:2s")
        if time is not None and way not in ("slow", "limited"):
            raise ValueError(f"{word}: only slow and limited take a duration, not {way}")
        attempts = int(found["attempts"]) if found["attempts"] else None
        return cls(word, way, None if time is None else _seconds(word, time), attempts)

    def applies(self, prompt: str, attempt: int) -> bool:
        """Whether ``prompt`` contains the word as a word, in any case, and the attempt is one of those that fail."""
        if self.attempts is not None and attempt > self.attempts:
            return False
        return re.search(rf"(?<![\w-]){re.escape(self.word)}(?![\w-])", prompt, re.IGNORECASE) is not None

    def strike(self, control: Control) -> bytes | None:
        """Misbehave: raise, hang, exit, or return bytes that are no image. None means: go on as if nothing was."""
        return WAYS[self.way](self, control)

    def __str__(self) -> str:
        return f"the prompt contains {self.word!r}, which makes the local provider answer so"


def _seconds(word: str, text: str) -> float:
    found = TIME.fullmatch(text)
    if found is None:
        raise ValueError(f"{word}: {text!r} is not a duration such as 500ms, 2s, 5m or 1h")
    return float(found["number"]) * UNITS[found["unit"] or "s"]


def _unavailable(fault: Fault, _: Control) -> NoReturn:
    raise ProviderUnavailable(f"503: {fault}")


def _rejected(fault: Fault, _: Control) -> NoReturn:
    raise ProviderRejected(f"400: {fault}")


def _blocked(fault: Fault, _: Control) -> NoReturn:
    raise ContentBlocked(f"blocked: {fault}")


def _limited(fault: Fault, _: Control) -> NoReturn:
    raise ProviderLimited(f"429: {fault}", wait=fault.seconds)


def _timeout(fault: Fault, _: Control) -> NoReturn:
    raise ProviderTimedOut(f"no answer: {fault}")


def _no_image(fault: Fault, _: Control) -> NoReturn:
    raise NoImage(f"an answer without an image: {fault}")


def _not_an_image(*_: object) -> bytes:
    return b"<!doctype html><title>502 Bad Gateway</title><h1>502 Bad Gateway</h1>"


def _bomb(*_: object) -> bytes:
    """A PNG whose header announces 900 megapixels."""
    header = struct.pack("!IIBBBBB", 30_000, 30_000, 8, 2, 0, 0, 0)
    pixels = zlib.compress(bytes(100_000))
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + _chunk(b"IDAT", pixels) + _chunk(b"IEND", b"")


def _chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack("!I", len(body)) + name + body + struct.pack("!I", zlib.crc32(name + body))


def _slow(fault: Fault, control: Control) -> None:
    control.pause(fault.seconds or 0.0)


def _hang(*_: object) -> None:
    """Wait for ever and listen to nobody, as a blocked system call does."""
    Event().wait()


def _exit(*_: object) -> NoReturn:
    """Die as a process does that the kernel ends for want of memory: at once, leaving everything as it is."""
    os._exit(OOM_KILLED)


WAYS: dict[str, Callable[[Fault, Control], bytes | None]] = {
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
