"""The pictures of a job, through this server: pages show nothing that comes from elsewhere.

Which object is read is said by the job's row alone. A few are read at once, so that a storage that hangs takes the
threads of nobody else.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Literal, Protocol
from uuid import UUID

from fastapi import APIRouter, Path, Response

from generation_worker.web.api.fleet import Ask
from generation_worker.web.auth import Caller
from generation_worker.web.pages.jobs import inputs_of, is_ours
from generation_worker.web.pages.render import JOBS, fields, items
from generation_worker.web.pages.session import PageRoute, sees
from generation_worker.web.problems import Problem
from generation_worker.web.requests import Turns
from generation_worker.worker.image_keys import CONTENT_TYPES

AT_ONCE = 6
"""Objects that are read at once: as many as a browser asks for."""
TURN_WITHIN = 10.0
"""Seconds to wait for others."""
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; sandbox",
    "Cache-Control": "private, max-age=3600",  # what lies under a key never changes, but it is deleted some day
}

Size = Literal["thumbnail", "full"]
Number = Annotated[int, Path(ge=0, le=1000)]


class Objects(Protocol):
    def get(self, key: str) -> bytes | None:
        """Raises StorageUnavailable, and InputRejected for what is too large."""
        ...


class PictureQuestions(Protocol):
    def job(self, job_id: UUID) -> Any: ...

    def job_images(self, job_id: UUID) -> Any: ...


def pictures_router(ask: Ask[PictureQuestions], storage: Objects) -> APIRouter:
    router = APIRouter(prefix=JOBS, include_in_schema=False, route_class=PageRoute)
    desk = _Desk(ask, storage)
    router.add_api_route("/{job_id}/images/{number}", desk.show_result, methods=["GET"])
    router.add_api_route("/{job_id}/inputs/{number}", desk.show_input, methods=["GET"])
    return router


class _Desk:
    def __init__(self, ask: Ask[PictureQuestions], storage: Objects) -> None:
        self._ask = ask
        self._storage = storage
        self._turns = Turns(AT_ONCE, within=TURN_WITHIN, busy="Too many pictures are being looked at just now.")

    async def show_result(
        self,
        caller: Annotated[Caller, sees("read")],  # noqa: ARG002 - asked who they are
        job_id: UUID,
        number: Number,
        size: Size = "thumbnail",
    ) -> Response:
        return await self._answer(lambda: self._key_of_result(job_id, number, size))

    async def show_input(
        self,
        caller: Annotated[Caller, sees("read")],  # noqa: ARG002 - asked who they are
        job_id: UUID,
        number: Number,
    ) -> Response:
        return await self._answer(lambda: self._key_of_input(job_id, number))

    async def _answer(self, key: Callable[[], str | None]) -> Response:
        async with self._turns.turn():
            return await self._turns.run(self._read, key)

    def _read(self, key_of: Callable[[], str | None]) -> Response:
        key = key_of()
        content_type = CONTENT_TYPES.get(key.rpartition(".")[2]) if key else None
        data = self._storage.get(key) if key and content_type else None
        if data is None:
            raise Problem(404, "image_not_found", "There is no such picture, or not any more.")
        return Response(data, media_type=content_type, headers=HEADERS)

    def _key_of_result(self, job_id: UUID, number: int, size: Size) -> str | None:
        with self._ask() as questions:
            images = items(questions.job_images(job_id))
        image = fields(images[number]) if number < len(images) else {}
        key = (size == "thumbnail" and image.get("thumbnail_key")) or image.get("key")
        return key if isinstance(key, str) else None

    def _key_of_input(self, job_id: UUID, number: int) -> str | None:
        """Only of what we wrote: an app may name any object of the bucket."""
        with self._ask() as questions:
            job = questions.job(job_id)
        images = () if job is None else inputs_of(job["kind"], job["payload"])
        key = images[number].key if number < len(images) else None
        return key if key and is_ours(key) else None
