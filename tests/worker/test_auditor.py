"""The books are checked now and then: what is found is kept, and told if it is bad."""

from __future__ import annotations

import pytest

from generation_worker.events import Events
from generation_worker.ports import StoreUnavailable
from generation_worker.worker.maintenance import Auditor
from tests.worker.scripted_store import ScriptedStore, Told, unavailable


def test_what_is_found_is_kept(store: ScriptedStore, events: Events, told: Told) -> None:
    Auditor(store, lambda: {"one": 0, "two": 0}, events).check()
    assert store.calls("save_findings") == [(("audit", {"violations": {"one": 0, "two": 0}}), {})]
    assert told.events == [("ledger.checked", {"broken": {}, "unchecked": []})]


def test_what_does_not_hold_is_told_of_by_name(store: ScriptedStore, events: Events, told: Told) -> None:
    Auditor(store, lambda: {"one": 0, "two": 3, "three": None}, events).check()
    assert told.events == [("ledger.violated", {"broken": {"two": 3}, "unchecked": ["three"]})]


def test_a_database_that_is_away_leaves_what_was_found_before(store: ScriptedStore, events: Events) -> None:
    with pytest.raises(StoreUnavailable):
        Auditor(store, unavailable, events).check()
    assert store.calls("save_findings") == []
