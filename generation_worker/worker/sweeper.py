"""Removes objects that nobody will ask for: an attempt stored them, and its job ended without them."""

from __future__ import annotations

from generation_worker.events import Events
from generation_worker.ports import Storage, Store, StoredObject
from generation_worker.worker.artifact import KEY

TASK = "sweep"
FOLDERS = ("images/", "thumbnails/")
"""Searched in this order, round after round."""
PAGE = 500
MOST_PAGES = 20
"""Bounds one run; the next one goes on where it ended, whichever worker does it."""
GRACE = 86_400.0
"""Seconds for which nothing is touched, whatever the database says: time for a person who wants to look."""


class Sweeper:
    def __init__(self, store: Store, storage: Storage, events: Events, *, grace: float = GRACE) -> None:
        self._store = store
        self._storage = storage
        self._events = events
        self._grace = grace

    def sweep(self) -> None:
        """Go on with the round through the storage, page by page, and begin the next one when it is done."""
        self._storage.discard_unfinished(older_than=self._grace)
        cursor = self._store.read_cursor(TASK)
        for _ in range(MOST_PAGES):
            cursor = self._sweep_page(cursor or FOLDERS[0])
            self._store.save_cursor(TASK, cursor)
            if cursor is None:
                return

    def _sweep_page(self, cursor: str) -> str | None:
        """Deal with what comes after ``cursor``; where to go on, or None at the end of a round."""
        folder = next(folder for folder in FOLDERS if cursor.startswith(folder))
        page = self._storage.keys(folder, start_after=cursor, limit=PAGE)
        self._remove(page)
        return page[-1].key if page else _folder_after(folder)

    def _remove(self, page: list[StoredObject]) -> None:
        made = [(match["job"], stored) for stored in page if (match := KEY.fullmatch(stored.key))]
        orphans = self._store.find_orphans(made, age=self._grace) if made else []
        for key in orphans:
            self._storage.delete(key)
        if orphans:
            self._events.emit("objects.swept", number=len(orphans))


def _folder_after(folder: str) -> str | None:
    """The one after ``folder``, as a cursor before its first key."""
    following = FOLDERS[FOLDERS.index(folder) + 1 :]
    return following[0] if following else None
