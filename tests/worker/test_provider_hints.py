"""Hints of providers: a waiting attempt is woken, a later one finds the notice, and none is woken twice by one."""

from __future__ import annotations

import string
import threading

import pytest
from hypothesis import given, strategies as st

from generation_worker.domain.webhook import Notice
from generation_worker.worker import signals as noticed
from generation_worker.worker.signals import KEPT_FOR, Inbox, ProviderHints
from tests.worker.scripted_store import Clock, ScriptedStore

FIRST, SECOND, OTHER = Notice.of("p-1", "msg_1"), Notice.of("p-1", "msg_2"), Notice.of("p-2", "msg_3")


@pytest.fixture
def notices(clock: Clock) -> ProviderHints:
    return ProviderHints(clock)


def test_who_waits_is_woken(notices: ProviderHints) -> None:
    woken: list[str] = []
    with notices.waiting("p-1", lambda: woken.append("a")), notices.waiting("p-1", lambda: woken.append("b")):
        assert notices.post(FIRST)
        assert not notices.post(OTHER)
    assert woken == ["a", "b"]


def test_who_waits_no_more_is_not_woken(notices: ProviderHints) -> None:
    with pytest.raises(ZeroDivisionError), notices.waiting("p-1", lambda: pytest.fail("woken")):
        raise ZeroDivisionError
    assert not notices.post(FIRST)


def test_the_same_notice_wakes_once_but_says_that_somebody_waits(notices: ProviderHints) -> None:
    woken: list[str] = []
    with notices.waiting("p-1", lambda: woken.append("a")):
        assert [notices.post(FIRST) for _ in range(3)] == [True] * 3
        assert woken == ["a"]
        notices.post(SECOND)
    assert woken == ["a", "a"]


def test_a_notice_is_there_when_it_is_woken_for(notices: ProviderHints) -> None:
    seen: list[str | None] = []
    with notices.waiting("p-1", lambda: seen.append(notices.latest("p-1"))):
        notices.post(FIRST)
    assert seen == [FIRST.id]


def test_a_notice_that_came_before_is_remembered_for_a_while(notices: ProviderHints, clock: Clock) -> None:
    notices.post(FIRST)
    clock.advance(KEPT_FOR)
    assert notices.latest("p-1") == FIRST.id
    assert notices.latest("p-2") is None
    clock.advance(0.001)
    assert notices.latest("p-1") is None


def test_a_newer_notice_counts_and_counts_its_own_time(notices: ProviderHints, clock: Clock) -> None:
    notices.post(FIRST)
    clock.advance(KEPT_FOR - 1)
    notices.post(SECOND)
    clock.advance(2)
    notices.post(OTHER)
    assert notices.latest("p-1") == SECOND.id


def test_a_newer_notice_keeps_no_older_ones_alive(notices: ProviderHints, clock: Clock) -> None:
    for notice in (FIRST, OTHER):
        notices.post(notice)
    clock.advance(KEPT_FOR)
    notices.post(SECOND)
    clock.advance(1)
    assert (notices.latest("p-1"), notices.latest("p-2")) == (SECOND.id, None)


def test_so_many_are_remembered_and_the_oldest_go_first(
    notices: ProviderHints, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(noticed, "MOST_KEPT", 3)
    for number in range(5):
        notices.post(Notice.of(f"p-{number}", "msg"))
    assert [number for number in range(5) if notices.latest(f"p-{number}")] == [2, 3, 4]


def test_threads_may_come_and_go_while_notices_come(notices: ProviderHints) -> None:
    def wait() -> None:
        for _ in range(300):
            with notices.waiting("p-1", lambda: None):
                notices.latest("p-1")

    threads = [threading.Thread(target=wait) for _ in range(4)]
    for thread in threads:
        thread.start()
    for number in range(300):
        notices.post(Notice.of("p-1", str(number)))
    for thread in threads:
        thread.join()
    assert not notices.post(Notice.of("p-1", "the last"))


def test_the_fleet_is_told_in_words_that_can_be_read_back(notices: ProviderHints, store: ScriptedStore) -> None:
    Inbox(notices, store).send(FIRST)
    [((message,), _)] = store.calls("send_message")
    assert message == f"call p-1 {FIRST.id}"
    assert Notice.read(message) == FIRST


@given(st.text(string.digits + string.ascii_letters + string.punctuation, min_size=1, max_size=200), st.text())
def test_any_notice_can_be_read_back(ref: str, delivery: str) -> None:
    notice = Notice.of(ref, delivery)
    assert Notice.read(notice.message) == notice
    assert len(notice.message) < 250  # NOTIFY takes 8,000 bytes


@pytest.mark.parametrize("ref", ["", "two words", "é", "line\n", "x" * 201])
def test_what_cannot_be_an_id_of_a_call(ref: str) -> None:
    with pytest.raises(ValueError, match="not an id"):
        Notice.of(ref, "msg")


@pytest.mark.parametrize("message", ["", "wake", "call", "call p-1", "call p-1 xyz", f"call  {FIRST.id}", "call a b c"])
def test_what_is_no_notice(message: str) -> None:
    assert Notice.read(message) is None
