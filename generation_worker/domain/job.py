"""A claimed job, as the worker holds it."""

from __future__ import annotations

import hashlib
import re
from functools import lru_cache
from typing import Any, Literal, NamedTuple

# Which trace a job belongs to, and which spans of it are its own, in the words of W3C Trace Context.
#
# Whoever looks at a job comes to the same ids, on whichever worker and without asking anybody: they follow from
# what the row holds.


FORM = re.compile(r"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")
HEARD = re.compile(
    r"(?!ff)(?P<version>[0-9a-f]{2})-(?P<ids>[0-9a-f]{32}-[0-9a-f]{16})-(?P<flags>[0-9a-f]{2})(?P<more>-.*)?"
)
"""As others may send it: a version that is yet to come has what we know in the same place, and may say more."""
REMEMBERED = 4096
"""Jobs and attempts whose ids are kept at hand: more than a worker has at a time."""


class Trace(NamedTuple):
    """Where an attempt is in which trace. The ids are worked out only for whoever wants to know them."""

    job_id: str
    traceparent: str | None
    token: str

    @property
    def trace_id(self) -> str:
        """The trace that all attempts at the job belong to."""
        return trace_id_of(self.job_id, self.traceparent)

    @property
    def span_id(self) -> str:
        """The span of this attempt."""
        return attempt_span_id(self.token)


def is_traceparent(text: str) -> bool:
    """Whether ``text`` is a traceparent as we keep it: version 00, lower case, neither id all zeros."""
    return FORM.fullmatch(text) is not None


def heard_traceparent(text: str | None) -> str | None:
    """What came along with a request, as we keep it; None if it is nothing of the kind.

    Nobody may have meant us by it, so it is ignored, as the standard asks, where a parameter would be refused.
    """
    found = HEARD.fullmatch((text or "").strip())
    if found is None or (found["version"] == "00" and found["more"]):
        return None
    kept = (
        f"00-{found['ids']}-{int(found['flags'], 16) & 1:02x}"  # the flag that we know: the caller's span is recorded
    )
    return kept if is_traceparent(kept) else None


def trace_id_of(job_id: str, traceparent: str | None) -> str:
    """The caller's trace; without one a trace of the job's own: the first 32 digits of the SHA-256 of its id.

    Not the id itself: samplers take the end of a trace id for a random number, which that of a UUID is not.
    """
    return traceparent[3:35] if traceparent else _digest(job_id)[:32]


def job_span_id(job_id: str) -> str:
    """The span from a job's enqueueing to its end, which the spans of all attempts have as their parent."""
    return _digest(job_id)[32:48]


def attempt_span_id(lease_token: str) -> str:
    """The span of the attempt with this lease. The token itself is the fence, and nobody else's business."""
    return _digest(lease_token)[:16]


@lru_cache(maxsize=REMEMBERED)
def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


Status = Literal["pending", "scheduled", "rate_limited", "processing", "completed", "failed", "cancelled"]

WAITING: frozenset[Status] = frozenset({"pending", "scheduled", "rate_limited"})
FINAL: frozenset[Status] = frozenset({"completed", "failed", "cancelled"})

MOST_ATTEMPTS = 100
"""The highest ``max_attempts`` that the table allows."""
NO_PROVIDER = "none"
"""The lane of jobs that are done here, without a provider."""


class ClaimCursor(NamedTuple):
    """A position in a lane. Claims read a lane from a cursor on, in ascending order."""

    priority: int
    position: str
    """A timestamp as the database writes it: it goes back to the database unread."""
    id: str


class Job(NamedTuple):
    """What one attempt needs to know. The fields are the columns of a claim; ids are texts."""

    id: str
    kind: str
    user_id: str
    provider: str
    payload: str
    """JSON text; parsed by the thread that works on it."""
    cost: int
    attempt: int
    """Which try this is, from 1; crashes count, waits for a rate limit do not."""
    max_attempts: int
    crashes: int
    waits: int
    lease_token: str
    seconds_left: float
    """From the claim to the job's own deadline, by the database's clock."""
    key_label: str | None
    """The provider's key that the claim has a permit for; None where nothing is limited, or nothing has to be asked."""
    permit: int | None
    """The decisecond, counted from the epoch, in which the permit counts."""
    cursor: ClaimCursor
    waited: float = 0.0
    """Seconds from the moment it might have started to this claim."""
    age: float = 0.0
    """Seconds from its enqueueing to this claim."""
    traceparent: str | None = None
    """The span of whoever enqueued it."""
    began_with: str | None = None
    """The token that the attempt began with, if its lease has expired and this one only settles it."""

    @property
    def trace(self) -> Trace:
        return Trace(self.id, self.traceparent, self.began_with or self.lease_token)

    @property
    def tags(self) -> dict[str, Any]:
        """What every event about the job says of it."""
        return {
            "job": self.id,
            "attempt": self.attempt,
            "user": self.user_id,
            "trace": self.trace,
        }


LANE_START = ClaimCursor(-(2**31), "-infinity", "00000000-0000-0000-0000-000000000000")
"""The cursor before every job of a lane."""
