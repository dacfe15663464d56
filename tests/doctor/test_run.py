"""Checks run side by side; none of them can spoil the others."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence

import pytest

from generation_worker.doctor.check import Check, skipped_check
from generation_worker.doctor.run import CheckEnded, CheckStarted, run_checks
from generation_worker.domain.finding import Finding, Verdict, fault, ok, warning
from generation_worker.log.redaction import hide_secrets, known_secrets

PATIENT = 30.0


@pytest.fixture
def released() -> Iterator[threading.Event]:
    """Set at the end: whoever hangs may go."""
    event = threading.Event()
    yield event
    event.set()


@pytest.fixture
def secret() -> Iterator[str]:
    hide_secrets(["canary-word"])
    yield "canary-word"
    known_secrets.clear()


def check(name: str, verdict: Verdict, **options: object) -> Check:
    return Check(name, lambda: verdict, **options)  # pyright: ignore[reportArgumentType]


def findings(*areas: Sequence[Check], limit: float = PATIENT) -> dict[str, Finding]:
    ended = [event for event in run_checks(areas, limit=limit) if isinstance(event, CheckEnded)]
    return {finding.check: finding for event in ended for finding in event.findings}


def statuses(*areas: Sequence[Check], limit: float = PATIENT) -> dict[str, str]:
    return {name: finding.status for name, finding in findings(*areas, limit=limit).items()}


def test_the_checks_of_an_area_follow_each_other_and_say_so() -> None:
    events = list(run_checks([[check("a.one", ok("fine")), check("a.two", fault("broken", "mend it"))]], limit=PATIENT))
    assert [(type(event), event.check) for event in events] == [
        (CheckStarted, "a.one"),
        (CheckEnded, "a.one"),
        (CheckStarted, "a.two"),
        (CheckEnded, "a.two"),
    ]
    [found] = events[3].findings if isinstance(events[3], CheckEnded) else []
    assert found._replace(milliseconds=0) == ("a.two", "fault", "broken", "mend it", 0)


def test_nothing_to_do() -> None:
    assert list(run_checks([], limit=PATIENT)) == []


def test_what_hangs_is_left_behind_and_the_others_go_on(released: threading.Event) -> None:
    hanging = Check("a.hangs", lambda: ok(str(released.wait())))
    found = findings([hanging, check("a.next", ok("fine"))], [check("b.other", ok("fine"))], limit=0.2)
    assert {name: finding.status for name, finding in found.items()} == {
        "a.hangs": "fault",
        "a.next": "ok",
        "b.other": "ok",
    }
    assert found["a.hangs"].detail == "it did not end within 0.2 s"
    assert "--timeout" in (found["a.hangs"].remedy or "")


def test_areas_do_not_wait_for_each_other() -> None:
    meet = threading.Barrier(2)
    both = [Check(name, lambda: ok(str(meet.wait(PATIENT) >= 0))) for name in ("a", "b")]
    assert statuses([both[0]], [both[1]]) == {"a": "ok", "b": "ok"}


@pytest.mark.parametrize("breaking", ["run", "prepare"])
def test_what_breaks_is_a_fault_of_ours_and_the_others_go_on(breaking: str) -> None:
    def fail() -> Verdict:
        raise LookupError("no such thing")

    broken = Check("a.broken", fail) if breaking == "run" else check("a.broken", ok("fine"), prepare=fail)
    found = findings([broken, check("a.next", ok("fine"))])
    assert found["a.broken"].detail == "this should not happen: LookupError: no such thing"
    assert found["a.next"].status == "ok"


def test_what_needs_something_that_is_not_there_is_skipped() -> None:
    found = findings(
        [
            check("a.one", fault("broken", "mend it")),
            check("a.two", ok("fine"), needs=("a.one",)),
            check("a.three", ok("fine"), needs=("a.two",)),
            check("a.four", warning("so so", "see to it")),
            check("a.five", ok("fine"), needs=("a.four",)),
            check("a.six", ok("fine"), needs=("a.not_chosen",)),
        ]
    )
    assert [found[f"a.{name}"].status for name in ("two", "three", "five", "six")] == ["skipped", "skipped", "ok", "ok"]
    assert found["a.two"].detail == "needs a.one"


def test_preparing_does_not_count_as_its_time() -> None:
    slow: Callable[[], object] = lambda: threading.Event().wait(0.3)  # noqa: E731
    assert findings([check("a.one", ok("fine"), prepare=slow)])["a.one"].milliseconds < 300


def test_one_check_may_find_several_things_or_none() -> None:
    events = run_checks([[Check("a.many", lambda: [ok("one"), ok("two")]), Check("a.none", lambda: [])]], limit=PATIENT)
    assert [len(event.findings) for event in events if isinstance(event, CheckEnded)] == [2, 0]


def test_no_finding_shows_a_secret_or_breaks_a_line(secret: str) -> None:
    found = findings([check("a", fault(f"it said:\n{secret}\x1b[31m", f"not {secret}"))])["a"]
    assert (found.detail, found.remedy) == ("it said: *** [31m", "not ***")


def test_what_is_not_looked_at_says_why() -> None:
    assert findings([skipped_check("a", "nothing there")])["a"][:3] == ("a", "skipped", "nothing there")
