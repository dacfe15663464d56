"""A prediction, and what its end amounts to. Nothing is believed about the shape of an answer."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Self, cast
from urllib.parse import unquote_to_bytes

from generation_worker.domain.errors import (
    CallLost,
    ContentBlocked,
    JobError,
    NoImage,
    OutputRejected,
    ProviderUnavailable,
)
from generation_worker.providers.loose_json import object_in

ENDED = frozenset({"succeeded", "failed", "canceled", "aborted"})
"""The others are starting and processing; a word that is new is not an end either."""
UNSEEN = "unseen"
"""The status of an earlier attempt's prediction, until we look."""
ID = re.compile(r"[A-Za-z0-9_-]{1,100}")
BLOCKED = re.compile(r"\bE005\b|flagged as sensitive|\bNSFW\b|safety filter|content polic|moderation", re.IGNORECASE)
LONGEST_TEXT = 300
"""Characters of Replicate's own words that are passed on."""


@dataclass(frozen=True, slots=True)
class Prediction:
    id: str
    status: str
    error: str = ""
    model: str = ""
    pictures: tuple[str, ...] = ()
    data_removed: bool = False
    usage: dict[str, float] = field(default_factory=dict[str, float])

    @classmethod
    def read(cls, body: object) -> Self | None:
        """None if the answer is no prediction."""
        told = object_in(body)
        prediction_id, status = told.get("id"), told.get("status")
        if not (isinstance(prediction_id, str) and ID.fullmatch(prediction_id) and isinstance(status, str)):
            return None
        return cls(
            id=prediction_id,
            status=status,
            error=_text(told.get("error")),
            model=_text(told.get("model")),
            pictures=tuple(_texts(told.get("output"))),
            data_removed=told.get("data_removed") is True,
            usage={name: value for name, value in object_in(told.get("metrics")).items() if _is_number(value)},
        )

    @property
    def running(self) -> bool:
        return self.status not in ENDED

    def picture(self, *, resumed: bool) -> str:
        """The address of the picture, the first if there are several. Raises ProviderError.

        ``resumed``: it is an earlier attempt's prediction, so if there is nothing to be had, a new one may have it.
        """
        match self.status:
            case "succeeded" if self.pictures:
                return self.pictures[0]
            case "succeeded" if self.data_removed:
                raise CallLost("Replicate has removed the picture: it keeps one for an hour.")
            case "succeeded":
                raise NoImage("The prediction succeeded without a picture.")
            case "failed":
                raise _failure(self.error)
            case _:
                # Replicate charges for what it had begun to work on.
                kind = CallLost if resumed else ProviderUnavailable
                raise kind(f"The prediction was {self.status} at Replicate.", spent=self.status == "canceled")


def _failure(said: str) -> JobError:
    if BLOCKED.search(said):
        return ContentBlocked(f"The model refused: {said}", spent=True)
    return ProviderUnavailable(f"The prediction failed: {said or 'Replicate does not say why'}", spent=True)


def decoded(uri: str) -> bytes:
    """The bytes of a ``data:`` URI. Raises OutputRejected."""
    head, comma, body = uri.partition(",")
    try:
        if comma:
            data = unquote_to_bytes(body)
            return base64.b64decode(data, validate=True) if head.lower().endswith(";base64") else data
    except (ValueError, binascii.Error):
        pass
    raise OutputRejected("Replicate's picture is a data: URI that cannot be read.")


def _texts(output: object) -> Iterator[str]:
    """``output`` is one address, or a list of them."""
    for item in cast("list[object]", output) if isinstance(output, list) else [output]:
        if isinstance(item, str) and item:
            yield item


def _text(value: object) -> str:
    return value[:LONGEST_TEXT] if isinstance(value, str) else ""


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
