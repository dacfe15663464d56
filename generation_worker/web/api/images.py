"""Input images over HTTP: a file comes in, is opened by a process that holds nothing else, and is kept under a key.

What is kept is never what was sent: it is written anew, upright and without metadata. Bodies are large, so only a few
are held at once, whoever sends them.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated, Any
from uuid import uuid4

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, Field

from generation_worker.domain.errors import InternalError
from generation_worker.ports import Images, Storage
from generation_worker.web.api.job_models import LINK_SECONDS
from generation_worker.web.auth import Caller, needs
from generation_worker.web.problems import RETRY_AFTER, Problem, documented, too_early
from generation_worker.web.requests import Turns, UserId, read_body
from generation_worker.worker.image_keys import upload_key

IMAGES = "/worker/images"
TAKEN = ("image/png", "image/jpeg", "image/webp", "application/octet-stream")
"""The last is what generated clients send for a file. What it is shows itself when it is opened, whatever is said."""
AT_ONCE = 4
"""Files that are held at once."""
READ_WITHIN = 60.0
"""Seconds in which a file must be here: it may come from a telephone."""
TURN_WITHIN = 10.0
"""Seconds to wait for others."""
SMALLER = (
    "Send a smaller image. The limit is UPLOAD_MAX_MB, or what the key may send (generation-worker token create "
    "--max-body) if that is less."
)
BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "description": "The file itself.",
        "content": {kind: {"schema": {"type": "string", "format": "binary"}} for kind in TAKEN},
    }
}


class UploadedImage(BaseModel):
    """An image that jobs may name by its key."""

    key: str = Field(
        description='Goes into a payload: `{"key": "…"}`.',
        examples=["uploads/shared/0a1b2c3d-0000-4000-8000-000000000000.jpg"],
    )
    content_type: str = Field(examples=["image/jpeg"])
    width: int = Field(description="Pixels, once upright.")
    height: int
    bytes: int
    url: str | None = Field(description="Works for 15 minutes; null if the storage has no addresses, as a disk.")
    kept_until: datetime | None = Field(
        description="Deleted soon after, unless a job that waits or runs names it; null: kept for ever."
    )


def images_router(storage: Storage, images: Images, *, most_bytes: int, kept_for: float) -> APIRouter:
    """``POST /worker/images``. ``kept_for``: seconds that an upload is kept; 0: for ever."""
    router = APIRouter(tags=["images"])
    desk = _Desk(storage, images, most_bytes, kept_for)
    router.add_api_route(
        IMAGES,
        desk.upload_image,
        methods=["POST"],
        status_code=201,
        responses=documented(401, 403, 404, 408, 413, 415, 422, 429, 503),
        openapi_extra=BODY,
    )
    return router


class _Desk:
    def __init__(self, storage: Storage, images: Images, most_bytes: int, kept_for: float) -> None:
        self._storage = storage
        self._images = images
        self._most_bytes = most_bytes
        self._kept_for = kept_for
        self._turns = Turns(AT_ONCE, within=TURN_WITHIN, busy="Too many images are coming in just now.")

    async def upload_image(
        self,
        request: Request,
        caller: Annotated[Caller, needs("enqueue")],
        user_id: Annotated[
            UserId | None, Query(description="Whose it is, for keys that are not bound to a user.")
        ] = None,
    ) -> UploadedImage:
        """Keep an input image, and name it in jobs by its key. PNG, JPEG and WebP are taken."""
        owner = caller.acting_for(user_id)
        _check_type(request)
        async with self._turns.turn():
            data = await read_body(request, self._most_of(caller), within=READ_WITHIN, remedy=SMALLER)
            return await self._turns.run(self._keep, data, owner)

    def _most_of(self, caller: Caller) -> int:
        """A key's own limit holds here, too, but makes no file larger than it may be."""
        return self._most_bytes if caller.most_upload is None else min(caller.most_upload, self._most_bytes)

    def _keep(self, data: bytes, owner: str | None) -> UploadedImage:
        try:
            picture = self._images.open(data)
        except InternalError as error:
            raise too_early("images_unavailable", error.message, status=503, seconds=RETRY_AFTER) from None
        key = upload_key(owner, uuid4(), picture.content_type)
        self._storage.put(key, picture.data, picture.content_type)
        return UploadedImage(
            key=key,
            content_type=picture.content_type,
            width=picture.width,
            height=picture.height,
            bytes=len(picture.data),
            url=self._storage.link(key, seconds=LINK_SECONDS),
            kept_until=datetime.now(UTC) + timedelta(seconds=self._kept_for) if self._kept_for else None,
        )


def _check_type(request: Request) -> None:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind not in TAKEN:
        raise Problem(
            415,
            "unsupported_media_type",
            f"The body must be an image: {', '.join(TAKEN)}.",
            field="header.content-type",
            remedy="Send the file itself with its Content-Type, such as --data-binary @photo.jpg with curl.",
        )
