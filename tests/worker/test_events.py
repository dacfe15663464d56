"""Events: everybody who listens hears of them, and nobody who listens can harm what happens."""

from __future__ import annotations

from typing import Any

import pytest

from generation_worker.domain.settlement import Completed
from generation_worker.events import Events
from generation_worker.worker.attempt import Attempt
from generation_worker.worker.paid_call import ProviderKeys
from tests.worker.scripted_store import ScriptedStore, Told, lease
from tests.worker.scripted_tools import ScriptedFetcher, ScriptedImages, ScriptedProvider, ScriptedStorage


class Broken:
    """A listener that fails each time."""

    def __init__(self, events: Events) -> None:
        self.heard: list[str] = []
        self.detach = events.subscribe(self.hear)

    def hear(self, name: str, _fields: dict[str, Any]) -> None:
        self.heard.append(name)
        raise OSError("no space left on device")


def test_every_listener_hears_of_everything_until_it_is_detached(events: Events) -> None:
    first, second = Told(events), list[str]()
    detach = events.subscribe(lambda name, fields: second.append(name))
    events.emit("one", number=1)
    detach()
    events.emit("two")
    assert first.events == [("one", {"number": 1}), ("two", {})]
    assert second == ["one"]


def test_a_listener_that_fails_keeps_nothing_from_the_others(events: Events) -> None:
    broken, other = Broken(events), Told(events)
    events.emit("one")
    events.emit("two")
    assert (broken.heard, other.names) == (["one", "two"], ["one", "two"])


def test_of_a_listener_that_fails_the_log_says_so_once(events: Events, caplog: pytest.LogCaptureFixture) -> None:
    broken, another = Broken(events), Broken(events)
    for name in ("one", "two", "three"):
        events.emit(name)
    assert [record.getMessage().split(";")[0] for record in caplog.records] == ["a listener failed at one"] * 2
    broken.detach()
    another.detach()
    Broken(events)
    events.emit("four")
    assert "at four" in caplog.records[-1].getMessage()
    assert "no space left" in caplog.text


@pytest.mark.usefixtures("caplog")
def test_an_attempt_is_not_lost_because_nobody_can_be_told(events: Events, store: ScriptedStore) -> None:
    Broken(events)
    store.answer("finish_call", ValueError("no row can hold this"))
    keys = ProviderKeys([ScriptedProvider()])
    attempt = Attempt(store, keys, ScriptedStorage(), ScriptedFetcher(), ScriptedImages(), events, max_paid_calls=1)
    assert isinstance(attempt.run(lease()), Completed)
