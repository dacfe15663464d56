"""Input images over HTTP: a separate process opens an uploaded file, and it is stored under a key.

The stored image is never the uploaded file: it is encoded again, upright and without metadata. Files are large, so
only a few are in memory at once, for all clients together.
"""

from datetime import UTC, datetime, timedelta
from typing import Annotated, Any
from uuid import uuid4

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, Field

from generation_worker.domain.errors import InternalError
from generation_worker.ports import Images, Storage
from generation_worker.web import app, auth, problems, requests
from generation_worker.web.api.job_models import LINK_SECONDS
from generation_worker.worker.image_keys import upload_key

IMAGES = "/worker/images"
CONTENT_TYPES = ("image/png", "image/jpeg", "image/webp", "application/octet-stream")
"""The last is what generated clients send for a file. Whatever the header, opening the file finds its type."""
CONCURRENCY = 4
"""Files that are in memory at once."""
READ_TIMEOUT = 60.0
"""Seconds within which a file must arrive: it may come from a telephone."""
TURN_TIMEOUT = 10.0
"""Seconds that an upload waits for others."""
SMALLER = (
    "Send a smaller image. The limit is UPLOAD_MAX_MB, or what the key may send (generation-worker token create "
    "--max-body) if that is less."
)
BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "description": "The file itself.",
        "content": {kind: {"schema": {"type": "string", "format": "binary"}} for kind in CONTENT_TYPES},
    }
}


class UploadedImage(BaseModel):
    """An uploaded image. Jobs name it by its key."""

    key: str = Field(
        description='For a payload: `{"key": "…"}`.',
        examples=["uploads/shared/0a1b2c3d-0000-4000-8000-000000000000.jpg"],
    )
    content_type: str = Field(examples=["image/jpeg"])
    width: int = Field(description="Pixels, after rotation.")
    height: int
    bytes: int
    url: str | None = Field(
        description="Expires after 15 minutes; null if the storage has no addresses, such as a disk."
    )
    kept_until: datetime | None = Field(
        description="Deleted soon after, unless a waiting or running job names it; null: never deleted."
    )


class Uploads:
    """Checks uploaded images and stores them, a few at once."""

    def __init__(self, storage: Storage, images: Images, *, most_bytes: int, retention: float) -> None:
        """``retention``: seconds that an upload is kept; 0: for ever."""
        self.most_bytes = most_bytes
        self.turns = requests.Turns(
            CONCURRENCY, within=TURN_TIMEOUT, busy="Too many images are being uploaded just now."
        )
        self._storage = storage
        self._images = images
        self._retention = retention

    def store(self, data: bytes, owner: str | None) -> UploadedImage:
        """Raises InputRejected, StorageUnavailable, and Problem (503) if no image can be opened just now."""
        try:
            picture = self._images.open(data)
        except InternalError as error:
            raise problems.too_early(
                "images_unavailable", error.message, status=503, seconds=problems.RETRY_AFTER
            ) from None
        key = upload_key(owner, uuid4(), picture.content_type)
        self._storage.put(key, picture.data, picture.content_type)
        return UploadedImage(
            key=key,
            content_type=picture.content_type,
            width=picture.width,
            height=picture.height,
            bytes=len(picture.data),
            url=self._storage.link(key, seconds=LINK_SECONDS),
            kept_until=datetime.now(UTC) + timedelta(seconds=self._retention) if self._retention else None,
        )


router = APIRouter(tags=["images"])


@router.post(
    IMAGES,
    status_code=201,
    responses=problems.documented(401, 403, 404, 408, 413, 415, 422, 429, 503),
    openapi_extra=BODY,
)
async def upload_image(
    request: Request,
    caller: Annotated[auth.Caller, auth.needs("enqueue")],
    uploads: Annotated[Uploads, app.part("uploads")],
    user_id: Annotated[
        requests.UserId | None, Query(description="The owner, for keys that are not bound to a user.")
    ] = None,
) -> UploadedImage:
    """Upload an input image, and name it in jobs by its key. PNG, JPEG and WebP are accepted."""
    owner = caller.acting_for(user_id)
    _check_type(request)
    # A key's own limit holds here too, but allows no larger file than UPLOAD_MAX_MB.
    most = uploads.most_bytes if caller.most_upload is None else min(caller.most_upload, uploads.most_bytes)
    async with uploads.turns.turn():
        data = await requests.read_body(request, most, within=READ_TIMEOUT, remedy=SMALLER)
        return await uploads.turns.run(uploads.store, data, owner)


def _check_type(request: Request) -> None:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind not in CONTENT_TYPES:
        raise problems.Problem(
            415,
            "unsupported_media_type",
            f"The body must be an image: {', '.join(CONTENT_TYPES)}.",
            field="header.content-type",
            remedy="Send the file itself with its Content-Type, such as --data-binary @photo.jpg with curl.",
        )
