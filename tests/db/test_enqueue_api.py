from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, use_span
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

import generation_worker
from generation_worker import (
    EnqueueRefused,
    EnqueueRequest,
    IdempotencyConflict,
    InsufficientCredits,
    InvalidPayload,
    InvalidRequest,
    JobNotFound,
    JobNotReplayable,
    adjust_credits,
    cancel,
    enqueue,
    enqueue_many,
    grant_credits,
    replay,
)
from generation_worker.db.audit_trail import Author
from generation_worker.db.fleet import set_setting
from tests.support import jobs
from tests.support.database import Connection, Database, queries_on
from tests.support.jobs import PROMPT, TRACEPARENT

OTHER = TRACEPARENT.replace("0af", "1af")

pytestmark = pytest.mark.usefixtures("fleet")


@pytest.fixture
def fleet(connection: Connection) -> None:
    jobs.offer_local(connection)
    jobs.grant(connection)


def request(**changes: Any) -> EnqueueRequest:
    asked: dict[str, Any] = {"kind": "text_to_image", "user_id": "ada", "payload": PROMPT}
    return EnqueueRequest(**(asked | changes))


def fail_job(connection: Connection, job_id: object) -> None:
    connection.execute(
        "UPDATE generation_job SET status = 'failed', error_code = 'no_image', finished_at = clock_timestamp() "
        "WHERE id = %s",
        [job_id],
    )


def test_it_is_the_functions_row(connection: Connection):
    [job] = enqueue(connection, "text_to_image", "ada", PROMPT, priority=3, max_attempts=2)
    row = jobs.job(connection, job.id)
    assert (job.status, job.batch_id, job.duplicate) == ("pending", None, False)
    assert (row["provider"], row["cost"], row["priority"], row["max_attempts"]) == ("local", 1, 3, 2)


def test_a_batch_has_a_job_for_each_image(connection: Connection):
    batch = enqueue(connection, "text_to_image", "ada", PROMPT, count=3)
    assert len({job.id for job in batch}) == 3
    assert len({job.batch_id for job in batch}) == 1


def test_it_waits_until_run_at(connection: Connection):
    later = datetime.now(UTC) + timedelta(hours=1)
    [job] = enqueue(connection, "text_to_image", "ada", PROMPT, run_at=later, deadline_at=later + timedelta(hours=2))
    row = jobs.job(connection, job.id)
    assert (row["status"], row["run_at"], row["deadline_at"]) == ("scheduled", later, later + timedelta(hours=2))


def test_it_belongs_to_the_callers_transaction(database: Database):
    connection = database.connect(autocommit=False)
    [job] = enqueue(connection, "text_to_image", "ada", PROMPT)
    connection.rollback()
    with pytest.raises(JobNotFound):
        cancel(connection, job.id)


def test_after_a_refusal_a_savepoint_lets_the_transaction_go_on(database: Database):
    connection = database.connect(autocommit=False)
    [kept] = enqueue(connection, "text_to_image", "ada", PROMPT)
    with pytest.raises(InvalidRequest), connection.transaction():
        enqueue(connection, "text_to_image", "ada", PROMPT, provider="nobody")
    connection.commit()
    assert jobs.job(connection, kept.id)["status"] == "pending"


def test_the_callers_row_factory_does_not_matter(database: Database):
    connection = database.connect(row_factory=dict_row)
    assert enqueue(connection, "text_to_image", "ada", PROMPT)[0].status == "pending"
    assert set_setting(queries_on(connection), "default_provider", "local") == "local"


@pytest.mark.parametrize(
    ("payload", "said"),
    [
        ({}, "prompt: Field required"),
        ({"prompt": "a", "promt": "b"}, "promt: unknown field"),
        ({"prompt": "a {{thing}}"}, "no input for {{thing}}"),
    ],
)
def test_a_payload_that_is_wrong_is_refused_before_it_is_sent(connection: Connection, payload: Any, said: str):
    with pytest.raises(InvalidPayload, match=said.replace("{", r"\{")):
        enqueue(connection, "text_to_image", "ada", payload)


def test_of_several_requests_the_wrong_one_is_named(connection: Connection):
    with pytest.raises(InvalidPayload, match=r"^jobs\[1\]\.prompt: "):
        enqueue_many(connection, [request(), request(payload={})])
    with pytest.raises(InvalidRequest, match=r"^jobs\[1\]\.cost: "):
        enqueue_many(connection, [request(), request(cost=-1)])
    assert connection.execute("SELECT count(*) FROM generation_job").fetchone() == (0,)


def test_a_url_for_development_is_let_in_only_if_the_app_says_so(connection: Connection):
    payload = {"prompt": "a", "images": [{"url": "http://localhost:3000/a.png"}]}
    with pytest.raises(InvalidPayload, match=r"^images\.0\.url: must begin with https://$"):
        enqueue(connection, "text_to_image", "ada", payload)
    [dead] = enqueue(connection, "text_to_image", "ada", payload, private_urls=True)
    fail_job(connection, dead.id)
    assert jobs.job(connection, replay(connection, dead.id).id)["payload"] == payload


def test_many_come_in_their_order_and_none_is_nothing(connection: Connection):
    several = enqueue_many(connection, [request(priority=n) for n in range(5)])
    assert [jobs.job(connection, job.id)["priority"] for job in several] == [0, 1, 2, 3, 4]
    assert enqueue_many(connection, []) == []


def test_one_key_gives_one_job(connection: Connection):
    [first] = enqueue(connection, "text_to_image", "ada", PROMPT, idempotency_key="order-7")
    [again] = enqueue(connection, "text_to_image", "ada", PROMPT, idempotency_key="order-7")
    assert (again.id, again.duplicate) == (first.id, True)
    with pytest.raises(IdempotencyConflict, match="order-7") as caught:
        enqueue(connection, "text_to_image", "ada", {"prompt": "another"}, idempotency_key="order-7")
    assert (caught.value.code, bool(caught.value.hint)) == ("idempotency_conflict", True)


def test_what_the_balance_cannot_cover_is_refused(connection: Connection):
    with pytest.raises(InsufficientCredits, match="user eve has 0") as caught:
        enqueue(connection, "text_to_image", "eve", PROMPT)
    assert isinstance(caught.value, EnqueueRefused)
    assert "credits grant" in caught.value.hint


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"provider": "nobody"}, "provider: no worker offers 'nobody'"),
        ({"user_id": ""}, "user_id: "),
        ({"count": 101}, "count: "),
        ({"cost": 7}, "cost: the price "),
        ({"run_at": datetime(2030, 1, 1)}, "run_at: has no time zone"),  # noqa: DTZ001 - the fault that is meant
        ({"user_id": "a\0"}, r"U\+0000"),
        ({"idempotency_key": ""}, "idempotency_key: "),
        ({"traceparent": ""}, "traceparent: '' is not of the form"),
        ({"traceparent": f"{TRACEPARENT}-"}, "traceparent: .* is not of the form"),
    ],
)
def test_a_request_that_is_wrong_names_its_field(connection: Connection, changes: dict[str, Any], said: str):
    with pytest.raises(InvalidRequest, match=said):
        enqueue_many(connection, [request(**changes)])


def test_other_errors_of_the_database_stay_its_own(empty_database: Database):
    with pytest.raises(psycopg.errors.InvalidSchemaName):
        enqueue(empty_database.connect(), "text_to_image", "ada", PROMPT)


def test_the_callers_span_is_kept(connection: Connection):
    [job] = enqueue(connection, "text_to_image", "ada", PROMPT, traceparent=TRACEPARENT)
    assert jobs.job(connection, job.id)["traceparent"] == TRACEPARENT


def test_the_span_that_the_app_is_in_is_the_callers(connection: Connection):
    span = NonRecordingSpan(SpanContext(int(TRACEPARENT[3:35], 16), int(TRACEPARENT[36:52], 16), True, TraceFlags(1)))
    with use_span(span):
        [job] = enqueue(connection, "text_to_image", "ada", PROMPT)
        [other] = enqueue(connection, "text_to_image", "ada", PROMPT, traceparent=OTHER)
    [outside] = enqueue(connection, "text_to_image", "ada", PROMPT)
    kept = [jobs.job(connection, each.id)["traceparent"] for each in (job, other, outside)]
    assert kept == [TRACEPARENT, OTHER, None]


def test_a_replay_is_a_request_of_its_own(connection: Connection):
    [first] = enqueue(connection, "text_to_image", "ada", PROMPT, traceparent=TRACEPARENT)
    fail_job(connection, first.id)
    assert jobs.job(connection, replay(connection, first.id).id)["traceparent"] is None


def test_cancelling(connection: Connection):
    [job] = enqueue(connection, "text_to_image", "ada", PROMPT)
    assert cancel(connection, job.id) == ("cancelled", True)
    assert cancel(connection, str(job.id)) == ("cancelled", True)
    with pytest.raises(JobNotFound):
        cancel(connection, uuid4())
    with pytest.raises(InvalidRequest, match="uuid"):
        cancel(connection, "7")


def test_a_replay_is_a_new_job_at_todays_price(connection: Connection):
    [dead] = enqueue(connection, "text_to_image", "ada", PROMPT, priority=2, max_attempts=2)
    fail_job(connection, dead.id)
    set_setting(queries_on(connection), "price.text_to_image", 3)
    new = replay(connection, dead.id)
    row = jobs.job(connection, new.id)
    assert (row["retry_of"], row["cost"], row["debited"], row["status"]) == (dead.id, 3, False, "pending")
    assert (row["priority"], row["max_attempts"], row["payload"]) == (2, 2, PROMPT)


def test_a_second_replay_gives_the_same_new_job(connection: Connection):
    [dead] = enqueue(connection, "text_to_image", "ada", PROMPT)
    cancel(connection, dead.id)
    new = replay(connection, dead.id)
    assert replay(connection, dead.id) == new._replace(duplicate=True)
    fail_job(connection, new.id)
    assert replay(connection, dead.id).id == new.id
    assert replay(connection, new.id).id != new.id


def test_work_without_a_provider_is_replayed_too(connection: Connection):
    payload = {"image": {"key": "a.png"}, "operations": [{"type": "thumbnail"}]}
    [dead] = enqueue(connection, "image_processing", "ada", payload)
    fail_job(connection, dead.id)
    assert jobs.job(connection, replay(connection, dead.id).id)["provider"] == "none"


def test_only_what_has_ended_without_an_image_is_replayed(connection: Connection):
    [job] = enqueue(connection, "text_to_image", "ada", PROMPT)
    with pytest.raises(JobNotReplayable, match=f"{job.id} is pending") as caught:
        replay(connection, job.id)
    assert caught.value.hint.startswith("Cancel it first")
    with pytest.raises(JobNotFound):
        replay(connection, uuid4())


def test_a_replay_has_to_be_paid(connection: Connection):
    [dead] = enqueue(connection, "text_to_image", "ada", PROMPT)
    cancel(connection, dead.id)
    adjust_credits(connection, "ada", -100, reason="chargeback", actor="tests")
    with pytest.raises(InsufficientCredits):
        replay(connection, dead.id)


def test_credits(connection: Connection):
    first = grant_credits(connection, "bob", 5, idempotency_key="payment-1", reason="starter pack", actor="shop")
    assert grant_credits(connection, "bob", 5, idempotency_key="payment-1") == first._replace(duplicate=True)
    assert adjust_credits(connection, "bob", -2).balance == 3
    with pytest.raises(InsufficientCredits, match="bob has 3 credits"):
        adjust_credits(connection, "bob", -4)
    with pytest.raises(InvalidRequest, match="amount"):
        grant_credits(connection, "bob", 0)
    with pytest.raises(IdempotencyConflict):
        grant_credits(connection, "bob", 6, idempotency_key="payment-1")


@pytest.mark.parametrize(
    ("name", "value", "kept"),
    [
        ("price.text_to_image", "4", 4),
        ("price.text_to_image.local", 0, 0),
        ("price.image_processing.none", "1", 1),
        ("seconds_per_credit", "2.5", 2.5),
        ("credits_low", "50", 50),
        ("caller_may_set_cost", "true", True),
        ("default_provider", "local", "local"),
    ],
)
def test_fleet_settings(connection: Connection, name: str, value: Any, kept: Any):
    assert set_setting(queries_on(connection), name, value, by=Author("cli:ada")) == kept
    row = connection.execute("SELECT value, updated_by FROM fleet_setting WHERE name = %s", [name]).fetchone()
    assert row == (kept, "cli:ada")


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("price", "4", "price: is not a setting"),
        ("prize.text_to_image", "4", "is not a setting"),
        ("price.video", "4", "'video' is not a kind"),
        ("price.text_to_image.nobody", "4", "no worker offers 'nobody'"),
        ("price.image_processing.local", "4", "no worker offers 'local'"),
        ("price.text_to_image", "1.5", "whole number"),
        ("price.text_to_image", "-1", "whole number"),
        ("price.text_to_image", True, "whole number"),
        ("seconds_per_credit", "0", "above 0"),
        ("credits_low", "-1", "whole number"),
        ("credits_low", "2.5", "whole number"),
        ("seconds_per_credit", "NaN", "above 0"),
        ("caller_may_set_cost", "yes", "true or false"),
        ("default_provider", "nobody", "Offered are local"),
        ("providers", "[]", "is not a setting"),
    ],
)
def test_fleet_settings_that_are_wrong(connection: Connection, name: str, value: Any, said: str):
    with pytest.raises(InvalidRequest, match=said):
        set_setting(queries_on(connection), name, value)


def test_python_and_sql_write_the_same_row(connection: Connection):
    asked: dict[str, Any] = {"priority": 4, "max_attempts": 2, "idempotency_key": "k"}
    jobs.grant(connection, "bob")
    [ours] = enqueue(connection, "text_to_image", "ada", PROMPT, **asked)
    [theirs] = jobs.enqueue_all(connection, "bob", **asked)
    own = {"id", "user_id", "position", "run_at", "deadline_at", "created_at"}
    first, second = (jobs.job(connection, job_id) for job_id in (ours.id, theirs["id"]))
    assert {k: v for k, v in first.items() if k not in own} == {k: v for k, v in second.items() if k not in own}
    assert first["payload"] == Jsonb(PROMPT).obj


def test_the_package_alone_imports_nothing_heavy():
    program = "import sys, generation_worker; print('psycopg' in sys.modules or 'pydantic' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=True, capture_output=True).stdout == b"False\n"


def test_the_package_has_no_other_names():
    with pytest.raises(AttributeError, match="'claim'"):
        _ = generation_worker.claim  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType, reportUnknownVariableType]
