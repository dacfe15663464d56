"""Where images are kept that people upload before they name them in a job."""

from __future__ import annotations

import hashlib
import re
from uuid import UUID

from generation_worker.worker.artifact import EXTENSIONS

UPLOADS = "uploads/"
OF_NOBODY = "shared"
KEY = re.compile(
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
