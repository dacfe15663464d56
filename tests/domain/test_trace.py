from __future__ import annotations

from uuid import uuid4

import pytest
from hypothesis import given, strategies as st

from generation_worker.domain.job import attempt_span_id, is_traceparent, job_span_id, read_traceparent, trace_id_of
from tests.support.jobs import NO_TRACEPARENTS, TRACEPARENT

JOB = "0190a000-0000-7000-8000-000000000001"


def test_a_job_is_in_its_callers_trace() -> None:
    assert trace_id_of(JOB, TRACEPARENT) == "0af7651916cd43dd8448eb211c80319c"


def test_without_a_caller_the_ids_follow_from_the_id_of_the_job() -> None:
    # As anybody may work it out: printf %s 0190a000-0000-7000-8000-000000000001 | sha256sum
    assert trace_id_of(JOB, None) + job_span_id(JOB) == "77b1c43e08bd324e4c0d1d2c1e19a0f5146233c4958a4dab"
    assert trace_id_of(str(uuid4()), None) != trace_id_of(str(uuid4()), None)


def test_a_sampler_that_takes_a_tenth_takes_a_tenth() -> None:
    numbers = [int(trace_id_of(f"0190a000-0000-7000-8000-{n:012x}", None)[16:], 16) / 2**64 for n in range(10_000)]
    assert 800 < sum(number < 0.1 for number in numbers) < 1200


def test_the_spans_of_a_job_are_not_each_others() -> None:
    assert len({job_span_id(JOB), attempt_span_id("a"), attempt_span_id("b"), trace_id_of(JOB, None)[:16]}) == 4


@pytest.mark.parametrize("text", NO_TRACEPARENTS)
def test_what_is_not_of_the_form_is_no_traceparent(text: str) -> None:
    assert not is_traceparent(text)


@pytest.mark.parametrize(
    ("heard", "kept"),
    [
        (TRACEPARENT, TRACEPARENT),
        (f" {TRACEPARENT} ", TRACEPARENT),
        (f"{TRACEPARENT[:-2]}03", TRACEPARENT),
        (f"{TRACEPARENT[:-2]}02", f"{TRACEPARENT[:-2]}00"),
        (f"cc{TRACEPARENT[2:]}-what-is-new", TRACEPARENT),
        (f"ff{TRACEPARENT[2:]}", None),
        (f"{TRACEPARENT}-more", None),
        (f"cc{TRACEPARENT[2:]}more", None),
        (TRACEPARENT.upper(), None),
        (f"00-{'0' * 32}-b7ad6b7169203331-01", None),
        ("nonsense", None),
        ("", None),
        (None, None),
    ],
)
def test_what_comes_along_is_kept_if_it_can_be_read(heard: str | None, kept: str | None) -> None:
    assert read_traceparent(heard) == kept


@given(st.text())
def test_whatever_comes_along_does_no_harm(text: str) -> None:
    kept = read_traceparent(text)
    assert kept is None or is_traceparent(kept)
