"""Which images a caller may name. A key of one user must not be a way to read another's."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol
from uuid import UUID

from generation_worker.domain.payload import ImageRef
from generation_worker.web.caller import Caller
from generation_worker.web.problems import Problem
from generation_worker.worker.artifact import KEY
from generation_worker.worker.uploads import upload_folder


class Owners(Protocol):
    def owned(self, job_ids: Sequence[UUID], user: str) -> set[UUID]:
        """Which of these jobs belong to ``user``. May raise StoreUnavailable."""
        ...


def check_images(images: Iterable[ImageRef], caller: Caller, owners: Owners) -> None:
    """A key that is bound to a user may name what that user has uploaded, and what their jobs have made.

    Raises Problem (404): whether there is such an image of somebody else's is not told.
    """
    if caller.user_id is None:
        return
    folder = upload_folder(caller.user_id)
    made = {image.key: _job_of(image.key) for image in images if image.key and not image.key.startswith(folder)}
    jobs = [job for job in made.values() if job is not None]
    owned = owners.owned(jobs, caller.user_id) if jobs else set[UUID]()
    for key, job in made.items():
        if job is None or job not in owned:
            raise Problem(
                404,
                "image_not_found",
                f"There is no image {key!r} that this key may use.",
                field="payload",
                remedy="Upload it (POST /worker/images), or name the result of one of the user's own jobs.",
            )


def _job_of(key: str) -> UUID | None:
    found = KEY.fullmatch(key)
    return UUID(found["job"]) if found else None
