"""The storage keys of images and uploads, and the description of an image in a job's result.

Keys are made of ids from the database: no text of a user is in them, and no two attempts have the same key.
"""

import hashlib
import re
from typing import Any
from uuid import UUID

from generation_worker.domain.job import Job
from generation_worker.ports import Picture

EXTENSIONS = {"image/webp": "webp", "image/png": "png", "image/jpeg": "jpg"}
CONTENT_TYPES = {extension: content_type for content_type, extension in EXTENSIONS.items()}
IMAGE_KEY = re.compile(
    r"(?:images|thumbnails)/(?P<job>[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})-[0-9a-f]{12}\.(?P<extension>webp|png|jpg)"
)
"""The keys that attempts make. Other objects in these folders belong to another program."""
UPLOADS = "uploads/"
NO_USER = "shared"
"""The folder of uploads that belong to no user."""
UPLOAD_KEY = re.compile(
    UPLOADS
    + r"(?:shared|[0-9a-f]{32})/[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\.(?:"
    + "|".join(EXTENSIONS.values())
    + ")"
)
"""The keys that uploads get. Other objects in this folder belong to another program."""


def image_key(job: Job, content_type: str) -> str:
    """The key of this attempt's image, however often the attempt stores it."""
    return f"images/{_attempt(job)}.{EXTENSIONS[content_type]}"


def thumbnail_key(job: Job) -> str:
    return f"thumbnails/{_attempt(job)}.webp"


def image_key_prefix(job: Job) -> str:
    """The prefix of the keys of all images that attempts at this job have stored."""
    return f"images/{job.id}-"


def thumbnail_key_beside(key: str) -> str:
    """The key of the thumbnail that belongs to the image under ``key``."""
    return f"thumbnails/{key.removeprefix('images/').rpartition('.')[0]}.webp"


def content_type_of(key: str) -> str | None:
    """The content type by the key's extension; None if no attempt makes such a key."""
    made = IMAGE_KEY.fullmatch(key)
    return CONTENT_TYPES[made["extension"]] if made else None


def describe_image(key: str, picture: Picture, thumbnail: str | None) -> dict[str, Any]:
    """The image as the job's result shows it."""
    return {
        "key": key,
        "content_type": picture.content_type,
        "width": picture.width,
        "height": picture.height,
        "bytes": len(picture.data),
        "sha256": hashlib.sha256(picture.data).hexdigest(),
        "thumbnail_key": thumbnail,
    }


def upload_folder(user_id: str | None) -> str:
    """The folder of a user's uploads. It contains no text of theirs, and shows to whom an upload belongs."""
    owner = NO_USER if user_id is None else hashlib.sha256(user_id.encode()).hexdigest()[:32]
    return f"{UPLOADS}{owner}/"


def upload_key(user_id: str | None, upload_id: UUID, content_type: str) -> str:
    return f"{upload_folder(user_id)}{upload_id}.{EXTENSIONS[content_type]}"


def _attempt(job: Job) -> str:
    """The job's id and enough of the lease token to distinguish its attempts.

    Not the number of the call: another attempt may resume a call while the one that began it still has its answer, and
    both would store their image, perhaps with different bytes, under one key.
    """
    return f"{job.id}-{job.lease_token[-12:]}"
