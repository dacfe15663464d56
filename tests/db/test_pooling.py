"""Whether a pooler stands in between is found out. Through PgBouncer (make test-pgbouncer) there is one, else none."""

from __future__ import annotations

import pytest

from generation_worker.doctor.database import Pooling, find_pooling, judge_direct, judge_pooled
from tests.support.database import Database

DIRECT, SESSIONS, SHARED = Pooling(False, False), Pooling(False, True), Pooling(True, True)


def test_what_stands_in_between_is_found_out(database: Database):
    assert find_pooling(database.direct_conninfo) == DIRECT
    assert find_pooling(database.conninfo) == (SHARED if database.pooled else DIRECT)


@pytest.mark.parametrize(
    ("found", "declared", "status", "named"),
    [
        (DIRECT, False, "ok", None),
        (SESSIONS, False, "ok", None),
        (SESSIONS, True, "ok", None),
        (SHARED, True, "ok", None),
        (SHARED, False, "fault", "?pgbouncer=true"),
        (DIRECT, True, "warning", "Remove pgbouncer=true"),
    ],
)
def test_an_address_must_say_what_it_leads_through(found: Pooling, declared: bool, status: str, named: str | None):
    verdict = judge_pooled(found, declared=declared)
    assert verdict.status == status
    assert (verdict.remedy is None) if named is None else (named in (verdict.remedy or ""))


def test_a_direct_address_may_not_lead_through_a_transaction_pooler():
    assert [judge_direct(found).status for found in (DIRECT, SESSIONS, SHARED)] == ["ok", "ok", "fault"]
    assert "DIRECT_URL" in (judge_direct(SHARED).remedy or "")
