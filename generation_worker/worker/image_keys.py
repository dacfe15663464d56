"""Where a job's images are kept, and what is said of them. Keys are made of ids that the database gave: no text steers
them, and no two attempts have the same.
"""

from __future__ import annotations

import hashlib
import re
from typing import Any
from uuid import UUID

from generation_worker.domain.job import Job
from generation_worker.ports import Picture

EXTENSIONS = {"image/webp": "webp", "image/png": "png", "image/jpeg": "jpg"}
CONTENT_TYPES = {extension: content_type for content_type, extension in EXTENSIONS.items()}
KEY = re.compile(
    r"(?:images|thumbnails)/(?P<job>[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})-[0-9a-f]{12}\.(?P<extension>webp|png|jpg)"
)
"""The keys that attempts make. Whatever else lies beside them is somebody else's."""


def image_key(job: Job, content_type: str) -> str:
    """Where this attempt keeps the job's image, as often as it puts it there."""
    return f"images/{_attempt(job)}.{EXTENSIONS[content_type]}"


def thumbnail_key(job: Job) -> str:
    return f"thumbnails/{_attempt(job)}.webp"


def image_keys_begin(job: Job) -> str:
    """The beginning of the keys of all images that attempts at this job have stored."""
    return f"images/{job.id}-"


def thumbnail_key_beside(key: str) -> str:
    """Where the attempt that stored an image under ``key`` keeps its thumbnail."""
    return f"thumbnails/{key.removeprefix('images/').rpartition('.')[0]}.webp"


def content_type_of(key: str) -> str | None:
    """By its extension; None if no attempt makes such a key."""
    made = KEY.fullmatch(key)
    return CONTENT_TYPES[made["extension"]] if made else None


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


def _attempt(job: Job) -> str:
    """Of the lease's token as much as tells a job's attempts apart.

    Not the number of the call: a call may be taken up while whoever began it still has its answer in hand, and both
    would put their image, with other bytes perhaps, under one key.
    """
    return f"{job.id}-{job.lease_token[-12:]}"


# Where images are kept that people upload before they name them in a job.


UPLOADS = "uploads/"
OF_NOBODY = "shared"
UPLOAD_KEY = re.compile(
    UPLOADS
    + r"(?:shared|[0-9a-f]{32})/[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\.(?:"
    + "|".join(EXTENSIONS.values())
    + ")"
)
"""The keys that uploads are given. Whatever else lies beside them is somebody else's."""


def upload_folder(user_id: str | None) -> str:
    """Where a user's uploads are kept: no text of theirs is in it, and it tells whose they are."""
    owner = OF_NOBODY if user_id is None else hashlib.sha256(user_id.encode()).hexdigest()[:32]
    return f"{UPLOADS}{owner}/"


def upload_key(user_id: str | None, upload_id: UUID, content_type: str) -> str:
    return f"{upload_folder(user_id)}{upload_id}.{EXTENSIONS[content_type]}"
