"""The statements that choose many jobs read those of the chosen user only."""

from __future__ import annotations

from uuid import UUID

import pytest

from tests.support import jobs
from tests.support.database import Connection
from tests.support.plans import explain, most_rows

MANY = """
INSERT INTO generation_job (id, kind, user_id, provider, payload, cost, position, run_at)
SELECT generation_uuid(), 'text_to_image', 'user-' || n % 100, 'local', '{"prompt": "a"}', 1,
       now() + n * interval '1 second', now() - interval '1 minute'
  FROM generate_series(1, 60000) n
"""


@pytest.mark.parametrize("question", ["chosen_jobs", "count_chosen_jobs"])
def test_a_users_jobs_are_chosen_without_reading_those_of_others(connection: Connection, question: str):
    jobs.offer_local(connection)
    connection.execute(MANY.encode())
    connection.execute("ANALYZE generation_job")
    anything = dict.fromkeys(("kind", "provider", "batch", "worker", "code", "older"), None)
    values = anything | {"user": "user-7", "action": "cancel", "statuses": ["pending", "scheduled", "processing"]}
    plan = explain(connection, question, values | {"after": UUID(int=0), "limit": 1000})
    assert most_rows(plan) <= 600
