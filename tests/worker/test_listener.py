"""Messages of other processes: proved to arrive before the worker relies on them."""

from __future__ import annotations

import pytest

from generation_worker.events import Events
from generation_worker.ports import StoreUnavailable
from generation_worker.worker import signals as listeners
from generation_worker.worker.signals import Listener
from tests.worker.scripted_store import RecordedEvents, ScriptedSignals

DOWN = StoreUnavailable("the connection is gone")


@pytest.fixture
def signals(monkeypatch: pytest.MonkeyPatch) -> ScriptedSignals:
    monkeypatch.setattr(listeners, "SELF_TEST", 0.01)
    return ScriptedSignals()


@pytest.fixture
def heard() -> list[str]:
    return []


@pytest.fixture
def listener(signals: ScriptedSignals, events: Events, heard: list[str]) -> Listener:
    return Listener(
        signals,
        events,
        wake=lambda: heard.append("wake"),
        beat=lambda: heard.append("cancel"),
        notice=lambda notice: heard.append(notice.message),
    )


def test_an_address_on_which_our_own_message_comes_back_is_listened_to(
    listener: Listener, signals: ScriptedSignals, recorded: RecordedEvents
) -> None:
    assert not listener.live
    assert listener.step() == 0
    assert listener.live
    assert recorded.names == ["listen.live"]


def test_what_came_before_we_listened_is_looked_for(listener: Listener, heard: list[str]) -> None:
    listener.step()
    assert heard == ["wake"]


def test_an_address_on_which_nothing_is_heard_is_given_up(
    listener: Listener, signals: ScriptedSignals, recorded: RecordedEvents
) -> None:
    signals.deaf = True
    assert listener.step() is None
    assert not listener.live
    assert (recorded.names, signals.closed) == (["listen.deaf"], 1)


def test_messages_of_others_do_not_stand_for_our_own(listener: Listener, signals: ScriptedSignals) -> None:
    signals.deaf = True
    signals.heard = ["wake", "test of somebody else"]
    assert listener.step() is None


def test_our_own_message_may_come_after_others(listener: Listener, signals: ScriptedSignals) -> None:
    signals.heard = ["wake", "cancel"]
    listener.step()
    assert listener.live


@pytest.mark.parametrize("message", ["wake", "cancel", "call p-1 0123456789abcdef"])
def test_a_message_reaches_who_it_is_for(
    listener: Listener, signals: ScriptedSignals, heard: list[str], message: str
) -> None:
    listener.step()
    heard.clear()
    signals.heard.append(message)
    listener.step()
    assert heard == [message]


@pytest.mark.parametrize("message", ["from a newer version", "call", "call p-1 and more to come"])
def test_a_message_that_nobody_knows_is_ignored(
    listener: Listener, signals: ScriptedSignals, heard: list[str], message: str
) -> None:
    listener.step()
    heard.clear()
    signals.heard.append(message)
    assert listener.step() == 0
    assert heard == []


def test_a_connection_that_broke_is_opened_anew_and_proved_again(
    listener: Listener, signals: ScriptedSignals, heard: list[str]
) -> None:
    listener.step()
    signals.heard.append(DOWN)
    with pytest.raises(StoreUnavailable):
        listener.step()
    assert not listener.live
    heard.clear()
    listener.step()
    assert (listener.live, signals.opened, heard) == (True, 2, ["wake"])


def test_a_server_that_is_not_there_is_tried_again(
    listener: Listener, signals: ScriptedSignals, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse() -> None:
        raise DOWN

    with monkeypatch.context() as away:
        away.setattr(signals, "open", refuse)
        with pytest.raises(StoreUnavailable):
            listener.step()
    assert not listener.live
    listener.step()
    assert listener.live


def test_a_worker_without_an_address_to_listen_on_does_without(events: Events) -> None:
    listener = Listener(None, events, wake=lambda: None, beat=lambda: None, notice=lambda notice: None)
    listener.start()
    assert not listener.loop.alive
    listener.close()
    assert not listener.live


def test_closing_ends_the_loop_and_the_connection(listener: Listener, signals: ScriptedSignals) -> None:
    listener.start()
    listener.close()
    assert not listener.loop.alive
    assert (listener.live, signals.closed) == (False, 1)
