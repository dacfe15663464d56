"""Jobs, errors and outcomes of every kind, for tests that hold for all of them."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from generation_worker.domain import errors
from generation_worker.domain.errors import ContentBlocked, JobError, ProviderLimited
from generation_worker.domain.job import LANE_START, Job
from generation_worker.domain.settlement import (
    Blocked,
    Cancelled,
    Completed,
    Crashed,
    Failed,
    Outcome,
    RateLimited,
    Released,
    RetryPolicy,
)

DAY = 86_400.0


def a_job(**changes: Any) -> Job:
    """A job on its first attempt of four, with a day left."""
    job = Job(
        id="0190a000-0000-7000-8000-000000000001",
        kind="text_to_image",
        user_id="ada",
        provider="local",
        payload='{"prompt": "a red kite over the sea"}',
        cost=1,
        attempt=1,
        max_attempts=4,
        crashes=0,
        waits=0,
        lease_token="0190a000-0000-4000-8000-000000000002",
        seconds_left=DAY,
        key_label=None,
        permit=None,
        cursor=LANE_START,
    )
    return job._replace(**changes)


def all_errors(root: type[JobError] = JobError) -> list[type[JobError]]:
    """The tree's classes, the root first."""
    return [root, *(found for child in root.__subclasses__() for found in all_errors(child))]


ERRORS = [kind for kind in all_errors() if kind.__module__ == errors.__name__]
MESSAGES = st.none() | st.text(max_size=2500)
SPREADS = st.floats(0, 1, exclude_max=True)
SECONDS = st.floats(-10 * DAY, 10 * DAY)
POLICIES = st.builds(
    RetryPolicy,
    initial_delay=st.floats(0.01, 60),
    max_delay=st.floats(60, DAY),
    factor=st.floats(1, 10),
    jitter=st.booleans(),
    max_crashes=st.integers(1, 5),
    max_waits=st.integers(0, 5),
)


@st.composite
def jobs(draw: st.DrawFn) -> Job:
    max_attempts = draw(st.integers(1, 6))
    return a_job(
        attempt=draw(st.integers(1, max_attempts)),
        max_attempts=max_attempts,
        crashes=draw(st.integers(0, 5)),
        waits=draw(st.integers(0, 6)),
        seconds_left=draw(SECONDS),
    )


@st.composite
def failures(draw: st.DrawFn) -> JobError:
    kind = draw(st.sampled_from([error for error in ERRORS if error not in (ContentBlocked, ProviderLimited)]))
    return kind(draw(MESSAGES))


LIMITS = st.builds(ProviderLimited, MESSAGES, wait=st.none() | st.floats())
OUTCOMES: st.SearchStrategy[Outcome] = st.one_of(
    st.builds(Completed, st.just({"images": []})),
    st.builds(Failed, failures()),
    st.builds(Blocked, st.builds(ContentBlocked, MESSAGES)),
    st.builds(RateLimited, LIMITS),
    st.just(Cancelled()),
    st.just(Released()),
    st.builds(Crashed, st.text(max_size=2500), st.booleans()),
)
