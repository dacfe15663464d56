"""Kinds of values that several requests have."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Header, Query
from pydantic import AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field

PRINTABLE = r"^[^\x00]+$"
"""The database holds any character but this one."""

UserId = Annotated[str, Field(min_length=1, max_length=255, pattern=PRINTABLE, examples=["ada"])]
Cursor = Annotated[str, Field(min_length=1, max_length=200, description="`next_cursor` of the page before.")]
_IDEMPOTENCY_KEY = Header(
    alias="Idempotency-Key",
    min_length=1,
    max_length=255,
    pattern=r"^[!-~]+( [!-~]+)*$",
    description="The same key and request are done once: sent again, they give the same answer.",
    examples=["order-1000"],
)
IdempotencyKey = Annotated[str | None, _IDEMPOTENCY_KEY]
IdempotencyKeyNeeded = Annotated[str, _IDEMPOTENCY_KEY]
"""Where doing it twice would cost money."""
Traceparent = Annotated[
    str | None,
    Header(
        description="The caller's span by W3C Trace Context. What cannot be read is ignored, as the standard asks.",
        examples=["00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"],
    ),
]


Reason = Annotated[
    str,
    Field(min_length=1, max_length=2000, pattern=PRINTABLE, description="Why, for the record."),
]

ForTheRecord = Annotated[Reason | None, Query(alias="reason", description="Why, for the record.")]


class RequestModel(BaseModel):
    """What somebody sends: nothing that is not asked for, and no text where a number belongs."""

    model_config = ConfigDict(extra="forbid")


def _is_text(value: Any) -> Any:
    if value is not None and not isinstance(value, str):
        raise ValueError("must be a date and time, such as 2030-01-31T12:00:00Z")
    return value


Moment = Annotated[AwareDatetime, BeforeValidator(_is_text)]
