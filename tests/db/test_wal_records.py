"""What a job costs the log that everything waits for: a record for each row that is written and each index entry."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from typing import Any

import pytest

from generation_worker.db.protocol import PostgresStore
from tests.support.database import Connection
from tests.support.protocol import COMPLETED, Worker, set_prices

JOBS = 200
UPKEEP = 1.4
"""Records for a job that keep pages in order: 0.8, since they are pruned, and indexes now and then need another one."""

FILL = """
INSERT INTO generation_job (kind, user_id, provider, payload, cost)
SELECT 'text_to_image', 'ada', 'local', '{"prompt": "a"}', 0 FROM generate_series(1, %s)
"""


class Weighing:
    """Runs each statement a first time with EXPLAIN, undoes that, and keeps how many records it wrote."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self.records = 0

    @contextmanager
    def connection(self) -> Generator[Any]:
        yield self

    def cursor(self, *, row_factory: Any) -> Weighing:
        self._row_factory = row_factory
        return self

    def execute(self, text: bytes, values: Mapping[str, Any]) -> Any:
        with self._connection.transaction(force_rollback=True):
            row = self._connection.execute(b"EXPLAIN (ANALYZE, WAL, FORMAT JSON) " + text, values).fetchone()
        assert row is not None
        self.records = row[0][0]["Plan"]["WAL Records"]
        return self._connection.cursor(row_factory=self._row_factory).execute(text, values)


@pytest.fixture
def weighing(connection: Connection) -> Weighing:
    set_prices(connection)
    return Weighing(connection)


@pytest.fixture
def worker(connection: Connection, weighing: Weighing) -> Worker:
    worker = Worker(connection)
    worker.store = PostgresStore(weighing)
    return worker


def test_a_job_is_written_into_few_indexes(connection: Connection, weighing: Weighing, worker: Worker) -> None:
    """Claimed, a job is locked, written, and entered into two indexes; settled, into three. Each further index that it
    stands in would cost one more.
    """
    connection.execute(FILL, (JOBS,))
    jobs = worker.claim(JOBS).jobs
    assert len(jobs) == JOBS
    assert weighing.records < (4 + UPKEEP) * JOBS
    assert len(worker.store.settle_attempts([(job, COMPLETED) for job in jobs])) == JOBS
    assert weighing.records < (5 + UPKEEP) * JOBS
