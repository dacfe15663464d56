"""What an answer means for an input: an image, not there, not now, or never."""

from __future__ import annotations

from generation_worker.domain.errors import InputNotFound, InputRejected, InputUnavailable
from generation_worker.fetch.connector import Answer

GONE = (404, 410)
LATER = (408, 425, 429)
"""And everything from 500 on: the same request may be answered another time."""
REFUSED = (401, 403)
UNNAMED_TYPES = ("", "application/octet-stream", "binary/octet-stream")
"""Said by storages of whatever they were not told the type of."""


def check_answer(host: str, answer: Answer) -> None:
    """Return if the answer's body is to be read. Raises InputRejected, InputNotFound or InputUnavailable."""
    status = answer.status
    if status in GONE:
        raise InputNotFound(f"{host} has nothing at an input's url (status {status}).")
    if status in LATER or status >= 500:
        raise InputUnavailable(f"{host} could not send an input just now (status {status}).")
    if status in REFUSED:
        raise InputRejected(
            f"{host} does not let us have an input (status {status}): its url must work without a login, and a signed "
            "one must not have expired."
        )
    if status != 200:
        raise InputRejected(f"{host} answered an input's url with status {status} instead of an image.")
    _check_form(host, answer)


def too_large(host: str, most: int) -> InputRejected:
    return InputRejected(f"An input at {host} is larger than the {most // 2**20} MiB that are fetched (FETCH_MAX_MB).")


def _check_form(host: str, answer: Answer) -> None:
    kind = (answer.header("content-type") or "").partition(";")[0].strip().lower()
    if not kind.startswith("image/") and kind not in UNNAMED_TYPES:
        raise InputRejected(f"{host} answered an input's url with {kind[:50]!r}, which is no image type.")
    encoding = (answer.header("content-encoding") or "identity").lower()
    if encoding != "identity":
        raise InputRejected(
            f"{host} sends an input compressed ({encoding[:50]!r}) though asked not to: serve it plain."
        )
