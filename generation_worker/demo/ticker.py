"""What the worker says, in words for people: only what is out of the ordinary, or there would be ten lines a second."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from queue import Empty, SimpleQueue
from typing import Any

from generation_worker.demo.scene import STUDIO


class Ticker:
    """Listens to the worker's events in its threads, and hands the news to whoever asks."""

    def __init__(self) -> None:
        self._news: SimpleQueue[str] = SimpleQueue()
        self.settled: Counter[str] = Counter()
        """How many attempts ended, by outcome."""

    def hear(self, name: str, fields: dict[str, Any]) -> None:
        """A listener for ``Events.subscribe``."""
        if name == "attempt.settled":
            self.settled[fields["outcome"]] += 1
        phrase = PHRASES.get(name)
        if phrase is not None and (text := phrase(fields)):
            self._news.put(text)

    def say(self, text: str) -> None:
        self._news.put(text)

    def news(self) -> Iterator[str]:
        """What was said since the last time."""
        while True:
            try:
                yield self._news.get_nowait()
            except Empty:
                return


def _settled(fields: dict[str, Any]) -> str | None:
    user, status, delay = fields["user"], fields["status"], fields["delay"]
    if status == "completed":
        attempt = fields["attempt"]
        return f"{user}: completed at attempt {attempt}" if attempt > 1 and user != STUDIO else None
    if delay is not None:
        return f"{user}: {fields['error_code']}, again in {delay:.1f} s"
    return f"{user}: {status}{', ' + fields['error_code'] if fields['error_code'] else ''}"


def _refused(fields: dict[str, Any]) -> str:
    return f"{fields['user']}: refused at the claim, {fields['error_code']}"


def _reclaimed(fields: dict[str, Any]) -> str:
    return f"{fields['user']}: taken back from {fields['worker']}, which fell silent"


def _unavailable(fields: dict[str, Any]) -> str:
    return f"the database does not answer: {fields['error']}"


PHRASES: dict[str, Callable[[dict[str, Any]], str | None]] = {
    "attempt.settled": _settled,
    "job.refused": _refused,
    "lease.reclaimed": _reclaimed,
    "database.unavailable": _unavailable,
}
