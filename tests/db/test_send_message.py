"""What one process has to say reaches every worker that listens, through a pooler too."""

from __future__ import annotations

from generation_worker.db.signals import PostgresSignals
from generation_worker.domain.webhook import Notice
from tests.support.database import Connection, Database
from tests.support.protocol import Worker


def test_every_worker_that_listens_hears_it(connection: Connection, database: Database) -> None:
    message = Notice.of("p" * 200, "msg_1").message
    listeners = [PostgresSignals(database.direct_conninfo) for _ in range(2)]
    try:
        for listener in listeners:
            listener.open()
        Worker(connection).store.send_message(message)
        assert [listener.wait(30) for listener in listeners] == [[message]] * 2
    finally:
        for listener in listeners:
            listener.close()


def test_who_does_not_listen_is_no_error(connection: Connection) -> None:
    Worker(connection).store.send_message("call p-1 0123456789abcdef")
