"""Where a job's image is kept, and what is said of it. Keys are made of the job's id only: no text steers them."""

from __future__ import annotations

import hashlib
from typing import Any

from generation_worker.domain.job import Job
from generation_worker.domain.payload import ImageProcessing, Payload
from generation_worker.ports import Picture

EXTENSIONS = {"image/webp": "webp", "image/png": "png", "image/jpeg": "jpg"}


def image_key(job: Job, content_type: str) -> str:
    """The key that this job's image always has, however often it is made."""
    return f"images/{job.id}.{EXTENSIONS[content_type]}"


def thumbnail_key(job: Job) -> str:
    return f"thumbnails/{job.id}.webp"


def possible_keys(job: Job, payload: Payload) -> list[tuple[str, str]]:
    """Content types and keys under which an earlier attempt may have stored this job's image."""
    wanted = "original" if isinstance(payload, ImageProcessing) else payload.output.format
    types = EXTENSIONS if wanted == "original" else [f"image/{wanted}"]
    return [(content_type, image_key(job, content_type)) for content_type in types]


def describe(key: str, picture: Picture, thumbnail: str | None) -> dict[str, Any]:
    """The image as it stands in the job's result."""
    return {
        "key": key,
        "content_type": picture.content_type,
        "width": picture.width,
        "height": picture.height,
        "bytes": len(picture.data),
        "sha256": hashlib.sha256(picture.data).hexdigest(),
        "thumbnail_key": thumbnail,
    }
