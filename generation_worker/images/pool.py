"""A few children for many threads."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from queue import Empty, LifoQueue
from threading import Lock
from typing import Any

from generation_worker.domain.errors import InputRejected, InternalError
from generation_worker.images.children import Answer, Child, ChildDied
from generation_worker.images.limits import Limits

TRIES = 2
"""A child that died through no fault of the image is replaced and asked once more."""


class Pool:
    """Hands each request to an idle child, and waits for one if there is none.

    A child is started when it is first needed, and replaced when it has died or has served ``served_limit`` requests
    (what a decoder leaks does not add up).
    """

    def __init__(self, children: int, limits: Limits, *, served_limit: int) -> None:
        self._limits = limits
        self._served_limit = served_limit
        self._lock = Lock()
        self._closed = False
        self._alive: set[Child] = set()
        # The last one used is the next one asked, so a quiet worker needs only one.
        self._idle: LifoQueue[Child | None] = LifoQueue()
        for _ in range(children):
            self._idle.put(None)

    def start(self) -> None:
        """Have every idle child ready. Raises InternalError."""
        children = self._take_idle()
        try:
            children = [self._fit(child) for child in children]
            for child in children:
                child.wait_ready()
        except ChildDied as death:
            raise InternalError(f"images cannot be opened here: {death}") from None
        finally:
            for child in children:
                self._put_back(child)

    def ask(self, request: Mapping[str, Any], data: bytes) -> Answer:
        """A child's answer. Raises InputRejected if the image is to blame for its death, InternalError otherwise."""
        child = self._idle.get()
        try:
            for _ in range(TRIES):
                child = self._fit(child)
                try:
                    return child.ask(request, data)
                except ChildDied as death:
                    if death.blame is not None:
                        raise InputRejected(death.blame) from None
            raise InternalError(f"an image process was lost {TRIES} times in a row; nothing points to the image")
        finally:
            self._put_back(child)

    def close(self) -> None:
        """End every child. Who is being served or waits gets InternalError."""
        with self._lock:
            self._closed = True
            children = list(self._alive)
        for child in children:
            child.kill()
        for child in self._take_idle():
            self._put_back(child)

    def _fit(self, child: Child | None) -> Child:
        """``child`` if it can serve one more request, else a new one in its place."""
        if child is not None and not child.dead and child.served < self._served_limit:
            return child
        if child is not None:
            self._discard(child)
        with self._lock:
            if self._closed:
                raise InternalError("images are no longer opened: the worker is stopping")
            child = Child(self._limits)
            self._alive.add(child)
        return child

    def _put_back(self, child: Child | None) -> None:
        if self._closed and child is not None:
            self._discard(child)
            child = None
        self._idle.put(child)

    def _discard(self, child: Child) -> None:
        with self._lock:
            self._alive.discard(child)
        child.close()

    def _take_idle(self) -> list[Child | None]:
        taken: list[Child | None] = []
        with suppress(Empty):
            while True:
                taken.append(self._idle.get_nowait())
        return taken
