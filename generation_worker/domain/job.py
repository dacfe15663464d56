"""A claimed job, its states, and its trace in W3C Trace Context format.

The ids of a job's trace and spans follow from its row: every worker computes the same ones without a query.
"""

import hashlib
import re
from functools import lru_cache
from typing import Any, Literal, NamedTuple

TRACEPARENT = re.compile(r"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")
RECEIVED = re.compile(
    r"(?!ff)(?P<version>[0-9a-f]{2})-(?P<ids>[0-9a-f]{32}-[0-9a-f]{16})-(?P<flags>[0-9a-f]{2})(?P<more>-.*)?"
)
"""As a client may send it: a future version has the known fields in the same places, and may have more."""
CACHED_DIGESTS = 4096
"""More than the jobs and attempts that a worker has at a time."""


class Trace(NamedTuple):
    """The trace and the span of an attempt. The ids are computed only when they are read."""

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
    """Whether ``text`` is a traceparent as we store it: version 00, lower case, neither id all zeros."""
    return TRACEPARENT.fullmatch(text) is not None


def read_traceparent(text: str | None) -> str | None:
    """The traceparent of a request as we store it; None if it is not valid.

    An invalid one is ignored, as the standard demands, where a parameter would be refused: it may be meant for another
    server.
    """
    found = RECEIVED.fullmatch((text or "").strip())
    if found is None or (found["version"] == "00" and found["more"]):
        return None
    sampled = int(found["flags"], 16) & 1  # the only flag that version 00 defines
    stored = f"00-{found['ids']}-{sampled:02x}"
    return stored if is_traceparent(stored) else None


def trace_id_of(job_id: str, traceparent: str | None) -> str:
    """The caller's trace; without one a trace of the job's own: the first 32 digits of the SHA-256 of its id.

    Not the id itself: samplers use the end of a trace id as a random number, which the end of a UUID is not.
    """
    return traceparent[3:35] if traceparent else _digest(job_id)[:32]


def job_span_id(job_id: str) -> str:
    """The span from a job's enqueueing to its end: the parent of the spans of all attempts."""
    return _digest(job_id)[32:48]


def attempt_span_id(lease_token: str) -> str:
    """The span of the attempt with this lease. Not the token itself: that is the fence, and stays secret."""
    return _digest(lease_token)[:16]


@lru_cache(maxsize=CACHED_DIGESTS)
def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


Status = Literal["pending", "scheduled", "rate_limited", "processing", "completed", "failed", "cancelled"]

WAITING: frozenset[Status] = frozenset({"pending", "scheduled", "rate_limited"})
FINAL: frozenset[Status] = frozenset({"completed", "failed", "cancelled"})

MOST_ATTEMPTS = 100
"""The highest ``max_attempts`` that the table allows."""
NO_PROVIDER = "none"
"""The lane of jobs that the worker does itself, without a provider."""


class ClaimCursor(NamedTuple):
    """A position in a lane. Claims read a lane from a cursor on, in ascending order."""

    priority: int
    position: str
    """A timestamp as the database writes it: it goes back to the database unread."""
    id: str


class Job(NamedTuple):
    """The data of one attempt. The fields are the columns of a claim; ids are texts."""

    id: str
    kind: str
    user_id: str
    provider: str
    payload: str
    """JSON text; parsed by the thread that runs the attempt."""
    cost: int
    attempt: int
    """The number of this attempt, from 1; crashes count, waits for a rate limit do not."""
    max_attempts: int
    crashes: int
    waits: int
    lease_token: str
    seconds_left: float
    """From the claim to the job's own deadline, by the database's clock."""
    key_label: str | None
    """The provider's key that the claim has a permit for; None without a limit, or if no call is needed."""
    permit: int | None
    """The decisecond, counted from the epoch, in which the permit counts."""
    cursor: ClaimCursor
    waited: float = 0.0
    """Seconds from the moment it might have started to this claim."""
    age: float = 0.0
    """Seconds from its enqueueing to this claim."""
    traceparent: str | None = None
    """The span of the app that enqueued it."""
    began_with: str | None = None
    """The token with which the attempt began, if its lease has expired and this one only settles it."""

    @property
    def trace(self) -> Trace:
        return Trace(self.id, self.traceparent, self.began_with or self.lease_token)

    @property
    def tags(self) -> dict[str, Any]:
        """The fields of every event about the job."""
        return {
            "job": self.id,
            "attempt": self.attempt,
            "user": self.user_id,
            "trace": self.trace,
        }


LANE_START = ClaimCursor(-(2**31), "-infinity", "00000000-0000-0000-0000-000000000000")
"""The cursor before every job of a lane."""
