"""Images of jobs for the dashboard, through this server: its pages load nothing from elsewhere.

Only a job's row decides which object is read. A few objects are read at once, so that a storage that does not answer
occupies no thread of other requests.
"""

from collections.abc import Callable
from typing import Annotated, Literal
from uuid import UUID

from fastapi import APIRouter, Path, Response

from generation_worker.db.jobs import find_job, find_job_images
from generation_worker.db.query import Queries
from generation_worker.ports import Storage
from generation_worker.web import app, auth, problems, requests
from generation_worker.web.pages import jobs, render, session
from generation_worker.worker.image_keys import CONTENT_TYPES

CONCURRENCY = 6
"""Objects that are read at once: as many as a browser requests at once."""
TURN_TIMEOUT = 10.0
"""Seconds that a request waits for others."""
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; sandbox",
    "Cache-Control": "private, max-age=3600",  # an object never changes, but is deleted some day
}

Size = Literal["thumbnail", "full"]
Number = Annotated[int, Path(ge=0, le=1000)]


class PictureReader:
    """Reads images from the storage, a few at once."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._turns = requests.Turns(
            CONCURRENCY, within=TURN_TIMEOUT, busy="Too many pictures are being read just now."
        )

    async def respond(self, find_key: Callable[[], str | None]) -> Response:
        """The object whose key ``find_key`` returns, in a thread.

        Raises Problem (404, 503), StoreUnavailable and StorageUnavailable.
        """
        async with self._turns.turn():
            return await self._turns.run(self._read, find_key)

    def _read(self, find_key: Callable[[], str | None]) -> Response:
        key = find_key()
        content_type = CONTENT_TYPES.get(key.rpartition(".")[2]) if key else None
        data = self._storage.get(key) if key and content_type else None
        if data is None:
            raise problems.Problem(404, "image_not_found", "There is no such picture, or it was deleted.")
        return Response(data, media_type=content_type, headers=HEADERS)


Pictures = Annotated[PictureReader, app.part("pictures")]

router = APIRouter(prefix=render.JOBS, include_in_schema=False, route_class=session.PageRoute)


@router.get("/{job_id}/images/{number}")
async def show_result(
    _caller: Annotated[auth.Caller, session.sees("read")],
    job_id: UUID,
    number: Number,
    queries: app.Database,
    pictures: Pictures,
    size: Size = "thumbnail",
) -> Response:
    return await pictures.respond(lambda: _key_of_result(queries, job_id, number, size))


@router.get("/{job_id}/inputs/{number}")
async def show_input(
    _caller: Annotated[auth.Caller, session.sees("read")],
    job_id: UUID,
    number: Number,
    queries: app.Database,
    pictures: Pictures,
) -> Response:
    return await pictures.respond(lambda: _key_of_input(queries, job_id, number))


def _key_of_result(queries: Queries, job_id: UUID, number: int, size: Size) -> str | None:
    with queries.read_only() as reader:
        images = render.items(find_job_images(reader, job_id))
    image = render.fields(images[number]) if number < len(images) else {}
    key = (size == "thumbnail" and image.get("thumbnail_key")) or image.get("key")
    return key if isinstance(key, str) else None


def _key_of_input(queries: Queries, job_id: UUID, number: int) -> str | None:
    """Only of objects that this program wrote: an app may name any object of the bucket."""
    with queries.read_only() as reader:
        job = find_job(reader, job_id)
    images = () if job is None else jobs.input_images(job["kind"], job["payload"])
    key = images[number].key if number < len(images) else None
    return key if key and jobs.is_ours(key) else None
