"""Removes objects that nobody will ask for: an attempt stored them, and its job ended without them; or somebody has
uploaded them, and no job names them for long.
"""

from __future__ import annotations

from collections.abc import Sequence

from generation_worker.events import Events
from generation_worker.ports import Storage, Store, StoredObject
from generation_worker.worker import uploads
from generation_worker.worker.artifact import KEY

TASK = "sweep"
FOLDERS = ("images/", "thumbnails/", uploads.UPLOADS)
"""Searched in this order, round after round."""
PAGE = 500
MOST_PAGES = 20
"""Bounds one run; the next one goes on where it ended, whichever worker does it."""
GRACE = 86_400.0
"""Seconds for which nothing is touched, whatever the database says: time for a person who wants to look."""


class Sweeper:
    """``keep_uploads``: for so many seconds, whether a job names them or not; 0 keeps them for ever."""

    def __init__(
        self, store: Store, storage: Storage, events: Events, *, grace: float = GRACE, keep_uploads: float = 0
    ) -> None:
        self._store = store
        self._storage = storage
        self._events = events
        self._grace = grace
        self._keep_uploads = keep_uploads

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
        orphans, stale = self._orphans(page), self._stale_uploads(page)
        for key in orphans:
            self._storage.delete(key)
        self._delete_uploads(stale)
        if orphans or stale:
            self._events.emit("objects.swept", number=len(orphans) + len(stale))

    def _delete_uploads(self, keys: Sequence[str]) -> None:
        """Those that are deleted are noted, even if the storage fails half-way: nobody will list them again."""
        deleted: list[str] = []
        try:
            for key in keys:
                self._storage.delete(key)
                deleted.append(key)
        finally:
            if deleted:
                self._store.note_swept(deleted)

    def _orphans(self, page: list[StoredObject]) -> list[str]:
        made = [(match["job"], stored) for stored in page if (match := KEY.fullmatch(stored.key))]
        return self._store.find_orphans(made, age=self._grace) if made else []

    def _stale_uploads(self, page: list[StoredObject]) -> list[str]:
        uploaded = [stored for stored in page if uploads.KEY.fullmatch(stored.key)] if self._keep_uploads else []
        return self._store.find_stale_uploads(uploaded, age=self._keep_uploads) if uploaded else []


def _folder_after(folder: str) -> str | None:
    """The one after ``folder``, as a cursor before its first key."""
    following = FOLDERS[FOLDERS.index(folder) + 1 :]
    return following[0] if following else None
