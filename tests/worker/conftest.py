"""A scripted store, a clock that a test advances, and a record of what happened."""

from __future__ import annotations

import pytest

from generation_worker.events import Events
from tests.worker.scripted_store import Clock, RecordedEvents, ScriptedStore


@pytest.fixture
def store() -> ScriptedStore:
    return ScriptedStore()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def events() -> Events:
    return Events()


@pytest.fixture
def recorded(events: Events) -> RecordedEvents:
    return RecordedEvents(events)
