"""LISTEN and NOTIFY, and whether hearing our own message proves anything."""

from __future__ import annotations

from contextlib import closing

from generation_worker.db.signals import PostgresSignals
from generation_worker.worker.signals import receives_own_message
from tests.support.database import Database


def test_a_message_comes_back_over_a_direct_connection(database: Database):
    with closing(PostgresSignals(database.direct_conninfo)) as signals:
        signals.open()
        assert receives_own_message(signals)


def test_behind_a_pooler_nothing_comes_back(database: Database):
    """Where sessions share a process, a message sent by the listener itself would come back all the same."""
    with closing(PostgresSignals(database.conninfo)) as signals:
        signals.open()
        assert receives_own_message(signals) == (not database.pooled)
