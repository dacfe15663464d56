"""Each constraint is broken by a row that breaks nothing else. A constraint without a row here fails the last test."""

from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import psycopg
import pytest

from tests.support.database import Connection
from tests.support.jobs import NO_TRACEPARENTS, NOT_LEASED, NOW, change_job, put_job, put_row

LONG_NAME = "a" * 256

# Constraint of generation_job: the status and the columns that break it.
JOBS: list[tuple[str, str, dict[str, Any]]] = [
    ("kind_is_known", "pending", {"kind": "video"}),
    ("only_processing_needs_no_provider", "pending", {"provider": "none"}),
    ("only_processing_needs_no_provider", "pending", {"kind": "image_processing"}),
    ("user_id_is_named", "pending", {"user_id": ""}),
    ("user_id_is_named", "pending", {"user_id": LONG_NAME}),
    ("cost_is_not_negative", "pending", {"cost": -1}),
    ("cost_is_not_negative", "pending", {"cost": 1_000_000_001}),
    ("work_that_costs_is_debited", "processing", {"cost": 1}),
    ("work_that_costs_is_debited", "completed", {"cost": 1}),
    ("only_a_cost_is_debited", "pending", {"debited": True}),
    ("attempt_in_bounds", "pending", {"attempt": -1}),
    ("attempt_in_bounds", "processing", {"attempt": 5, "max_attempts": 4}),
    ("max_attempts_in_bounds", "pending", {"max_attempts": 0}),
    ("max_attempts_in_bounds", "pending", {"max_attempts": 101}),
    ("counters_are_not_negative", "pending", {"crashes": -1}),
    ("counters_are_not_negative", "pending", {"waits": -1}),
    ("processing_is_leased", "processing", {"lease_token": None}),
    ("processing_is_leased", "processing", {"locked_by": None}),
    ("processing_is_leased", "processing", {"locked_at": None}),
    ("processing_is_leased", "processing", {"lease_expires_at": None}),
    ("processing_is_leased", "pending", {"lease_token": uuid4()}),
    ("processing_is_leased", "completed", {"locked_by": "worker-1"}),
    ("work_has_started", "processing", {"started_at": None}),
    ("work_has_started", "completed", {"started_at": None}),
    ("final_is_finished", "failed", {"finished_at": None}),
    ("final_is_finished", "pending", {"finished_at": NOW}),
    ("completed_has_a_result", "completed", {"result": None}),
    ("completed_has_a_result", "failed", {"result": {"images": []}}),
    ("failed_has_a_code", "failed", {"error_code": None}),
    ("error_message_is_bounded", "failed", {"error_message": "a" * 2001}),
    ("key_and_hash_go_together", "pending", {"idempotency_key": "k"}),
    ("key_and_hash_go_together", "pending", {"request_hash": b"h"}),
    ("idempotency_key_is_bounded", "pending", {"idempotency_key": "", "request_hash": b"h"}),
    ("idempotency_key_is_bounded", "pending", {"idempotency_key": LONG_NAME, "request_hash": b"h"}),
    ("batch_index_is_not_negative", "pending", {"batch_index": -1}),
    ("fallback_is_another_provider", "pending", {"fallback_provider": "local"}),
    ("fallback_is_another_provider", "pending", {"fallback_provider": "none"}),
    *[("traceparent_is_of_its_form", "pending", {"traceparent": text}) for text in NO_TRACEPARENTS],
    (
        "fallback_is_another_provider",
        "pending",
        {"kind": "image_processing", "provider": "none", "fallback_provider": "local"},
    ),
]

ATTEMPT = {"job_id": uuid4(), "lease_token": uuid4(), "attempt": 1, "worker": "w", "started_at": NOW, "ended_at": NOW}
CALL = {"job_id": uuid4(), "number": 1, "lease_token": uuid4(), "provider": "local", "key_label": "k"}
STAGED = {"job_id": uuid4(), "provider": "local", "model": "m", "bytes": b"x"}
GRANT = {"user_id": "ada", "seq": 1, "kind": "grant", "amount": 1, "balance_after": 1}
DEBIT = {"user_id": "ada", "seq": 1, "kind": "debit", "amount": -1, "balance_after": 1, "job_id": uuid4()}
EVENT = {"actor": "cli:ada", "action": "pause", "target": "everything"}
TOKEN: dict[str, Any] = {"id": "0123456789ab", "name": "web", "secret_hash": b"h" * 32, "scopes": ["read"]}
SESSION: dict[str, Any] = {
    "id_hash": b"h" * 32,
    "token_id": "0123456789ab",
    "expires_at": datetime(2999, 1, 1, tzinfo=UTC),
}
GATE: dict[str, Any] = {"key_label": "far-1", "provider": "far", "calls_per_minute": 60}
OPEN = GATE | {"breaker": "open", "opened_at": NOW, "open_until": NOW, "opened_for": "401"}
ENDPOINT: dict[str, Any] = {"url": "https://app.example.com", "events": ["job.failed"], "secret": "whsec_eA=="}
DELIVERY: dict[str, Any] = {"endpoint_id": uuid4(), "event": "job.failed", "body": "{}"}

# Table, constraint: the row that breaks it.
ROWS: list[tuple[str, str, dict[str, Any]]] = [
    ("job_attempt", "outcome_is_known", ATTEMPT | {"outcome": "lost"}),
    ("provider_call", "number_counts_from_one", CALL | {"number": 0}),
    ("provider_call", "finished_calls_have_a_time", CALL | {"finished_at": NOW}),
    ("provider_call", "finished_calls_have_a_time", CALL | {"milliseconds": 1}),
    ("provider_call", "resumable_has_a_ref", CALL | {"resumable": True}),
    ("staged_image", "bytes_are_bounded", STAGED | {"bytes": b""}),
    ("staged_image", "bytes_are_bounded", STAGED | {"bytes": bytes(10_000_001)}),
    ("credit_account", "user_id_is_named", {"user_id": ""}),
    ("credit_account", "user_id_is_named", {"user_id": LONG_NAME}),
    ("credit_account", "balance_is_not_negative", {"user_id": "ada", "balance": -1}),
    ("credit_account", "fair_weight_is_positive", {"user_id": "ada", "fair_weight": 0}),
    ("credit_entry", "kind_is_known", GRANT | {"kind": "gift"}),
    ("credit_entry", "amount_has_its_sign", GRANT | {"amount": -1}),
    ("credit_entry", "amount_has_its_sign", DEBIT | {"amount": 1}),
    ("credit_entry", "amount_has_its_sign", GRANT | {"kind": "adjustment", "amount": 0}),
    ("credit_entry", "balance_is_not_negative", DEBIT | {"balance_after": -1}),
    ("credit_entry", "work_names_its_job", DEBIT | {"job_id": None}),
    ("credit_entry", "work_names_its_job", GRANT | {"job_id": uuid4()}),
    ("credit_entry", "refund_points_at_its_debit", GRANT | {"refund_of": 1}),
    ("credit_entry", "refund_points_at_its_debit", DEBIT | {"kind": "refund", "amount": 1}),
    ("audit_event", "actor_is_named", EVENT | {"actor": ""}),
    ("audit_event", "action_is_bounded", EVENT | {"action": "a" * 101}),
    ("audit_event", "target_is_bounded", EVENT | {"target": "a" * 301}),
    ("audit_event", "reason_is_bounded", EVENT | {"reason": "a" * 2001}),
    ("api_token", "id_is_public", TOKEN | {"id": "short"}),
    ("api_token", "name_is_bounded", TOKEN | {"name": ""}),
    ("api_token", "secret_is_hashed", TOKEN | {"secret_hash": b"plain"}),
    ("api_token", "scopes_are_known", TOKEN | {"scopes": ["everything"]}),
    ("api_token", "scopes_are_known", TOKEN | {"scopes": []}),
    ("api_token", "a_users_key_is_no_operators", TOKEN | {"scopes": ["operate"], "user_id": "ada"}),
    ("api_token", "user_id_is_named", TOKEN | {"user_id": ""}),
    ("dashboard_session", "id_is_hashed", SESSION | {"id_hash": b"plain"}),
    ("dashboard_session", "it_ends", SESSION | {"expires_at": datetime(2000, 1, 1, tzinfo=UTC)}),
    ("api_token", "limits_are_positive", TOKEN | {"requests_per_minute": 0, "most_waiting": 1}),
    ("api_token", "max_body_in_bounds", TOKEN | {"max_body_kb": 0}),
    ("api_token", "max_body_in_bounds", TOKEN | {"max_body_kb": 51_201}),
    ("provider_gate", "calls_per_minute_in_bounds", GATE | {"calls_per_minute": 0}),
    ("provider_gate", "calls_per_minute_in_bounds", GATE | {"calls_per_minute": 30_001}),
    ("provider_gate", "given_per_minute_in_bounds", GATE | {"given_per_minute": 0}),
    ("provider_gate", "given_per_minute_in_bounds", GATE | {"given_per_minute": 30_001}),
    ("provider_gate", "used_is_the_window", GATE | {"used": [0] * 605}),
    ("provider_gate", "nothing_is_used_twice", GATE | {"used": [0] * 605 + [-1]}),
    ("provider_gate", "closed_has_a_reason", GATE | {"closed_until": NOW}),
    ("provider_gate", "closed_has_a_reason", GATE | {"closed_for": "429"}),
    ("provider_gate", "breaker_is_known", GATE | {"breaker": "ajar"}),
    ("provider_gate", "open_has_an_end_and_a_reason", OPEN | {"open_until": None}),
    ("provider_gate", "open_has_an_end_and_a_reason", OPEN | {"opened_for": None}),
    ("provider_gate", "open_has_an_end_and_a_reason", OPEN | {"opened_at": None}),
    ("provider_gate", "open_has_an_end_and_a_reason", OPEN | {"breaker": "closed"}),
    ("provider_gate", "only_an_open_breaker_is_probed", GATE | {"probe_job": uuid4()}),
    ("provider_gate", "counters_are_not_negative", GATE | {"failures": -1}),
    ("provider_gate", "counters_are_not_negative", GATE | {"limits": -1}),
    ("provider_gate", "counters_are_not_negative", GATE | {"openings": -1}),
    ("webhook_endpoint", "url_is_bounded", ENDPOINT | {"url": ""}),
    ("webhook_endpoint", "url_is_bounded", ENDPOINT | {"url": "x" * 2001}),
    ("webhook_endpoint", "events_are_known", ENDPOINT | {"events": []}),
    ("webhook_endpoint", "events_are_known", ENDPOINT | {"events": ["job.failed", "job.begun"]}),
    (
        "webhook_endpoint",
        "a_user_is_not_told_of_providers",
        ENDPOINT | {"user_id": "ada", "events": ["breaker.opened"]},
    ),
    ("webhook_endpoint", "user_id_is_named", ENDPOINT | {"user_id": ""}),
    ("webhook_endpoint", "user_id_is_named", ENDPOINT | {"user_id": "x" * 256}),
    ("webhook_endpoint", "secret_can_sign", ENDPOINT | {"secret": "eA=="}),
    ("webhook_endpoint", "secret_can_sign", ENDPOINT | {"old_secret": "eA==", "old_secret_until": NOW}),
    ("webhook_endpoint", "old_secret_ends", ENDPOINT | {"old_secret": "whsec_eA=="}),
    ("webhook_endpoint", "old_secret_ends", ENDPOINT | {"old_secret_until": NOW}),
    ("webhook_endpoint", "disabled_for_a_reason", ENDPOINT | {"disabled_at": NOW}),
    ("webhook_endpoint", "disabled_for_a_reason", ENDPOINT | {"disabled_for": "gone"}),
    ("webhook_endpoint", "reason_is_bounded", ENDPOINT | {"disabled_at": NOW, "disabled_for": "x" * 501}),
    ("webhook_delivery", "status_is_known", DELIVERY | {"status": "lost", "finished_at": NOW}),
    ("webhook_delivery", "final_is_finished", DELIVERY | {"status": "dead"}),
    ("webhook_delivery", "final_is_finished", DELIVERY | {"finished_at": NOW}),
    ("webhook_delivery", "attempts_are_not_negative", DELIVERY | {"attempts": -1}),
    ("webhook_delivery", "error_is_bounded", DELIVERY | {"last_error": "x" * 501}),
]

# What may be there once: the rows that are the same in it.
UNIQUE: list[tuple[str, str, dict[str, Any], dict[str, Any]]] = [
    ("credit_entry", "credit_entry_pkey", GRANT, GRANT),
    ("credit_entry", "credit_entry_once_a_job", DEBIT, DEBIT | {"seq": 2}),
    ("credit_entry", "credit_entry_idempotency", GRANT | {"idempotency_key": "k"}, {"seq": 2}),
    ("job_attempt", "job_attempt_pkey", ATTEMPT | {"outcome": "failed"}, {"outcome": "crashed"}),
    ("staged_image", "staged_image_pkey", STAGED, {"bytes": b"y"}),
    ("provider_call", "provider_call_pkey", CALL, {"lease_token": uuid4()}),
]


@pytest.mark.parametrize(("constraint", "status", "columns"), JOBS)
def test_a_job_keeps(connection: Connection, constraint: str, status: str, columns: dict[str, Any]):
    with pytest.raises(psycopg.errors.CheckViolation) as caught:
        put_job(connection, status, **columns)
    assert caught.value.diag.constraint_name == constraint


def test_a_status_is_known(connection: Connection):
    job_id = put_job(connection, "processing")
    with pytest.raises(psycopg.errors.CheckViolation) as caught:
        change_job(connection, job_id, status="lost", **NOT_LEASED)
    assert caught.value.diag.constraint_name == "status_is_known"


@pytest.mark.parametrize(("table", "constraint", "row"), ROWS)
def test_a_row_keeps(connection: Connection, table: str, constraint: str, row: dict[str, Any]):
    with pytest.raises(psycopg.errors.CheckViolation) as caught:
        put_row(connection, table, **row)
    assert caught.value.diag.constraint_name == constraint


@pytest.mark.parametrize(("table", "constraint", "row", "changes"), UNIQUE)
def test_a_row_is_there_once(
    connection: Connection, table: str, constraint: str, row: dict[str, Any], changes: dict[str, Any]
):
    put_row(connection, table, **row)
    with pytest.raises(psycopg.errors.UniqueViolation) as caught:
        put_row(connection, table, **{**row, **changes})
    assert caught.value.diag.constraint_name == constraint


def test_a_refund_cannot_point_at_nothing(connection: Connection):
    with pytest.raises(psycopg.errors.ForeignKeyViolation):
        put_row(connection, "credit_entry", **{**DEBIT, "kind": "refund", "amount": 1, "refund_of": 7})


def test_a_key_may_be_used_once_by_each_user_and_place_in_the_batch(connection: Connection):
    key: dict[str, Any] = {"idempotency_key": "k", "request_hash": b"h"}
    put_job(connection, "pending", **key)
    put_job(connection, "pending", **key, batch_index=1)
    put_job(connection, "pending", **key, user_id="bob")
    with pytest.raises(psycopg.errors.UniqueViolation, match="generation_job_idempotency"):
        put_job(connection, "pending", **key)


def test_a_dead_letter_is_replayed_once(connection: Connection):
    dead = put_job(connection, "failed")
    put_job(connection, retry_of=dead)
    with pytest.raises(psycopg.errors.UniqueViolation, match="generation_job_replay"):
        put_job(connection, retry_of=dead)


def test_every_check_is_tried_here(connection: Connection):
    checks = """
      SELECT conrelid::regclass::text, conname::text FROM pg_constraint
       WHERE contype = 'c' AND connamespace = (SELECT relnamespace FROM pg_class WHERE oid = 'generation_job'::regclass)
    """
    tried = {("generation_job", constraint) for constraint, _, _ in JOBS} | {("generation_job", "status_is_known")}
    tried |= {(table, constraint) for table, constraint, _ in ROWS}
    assert set(connection.execute(checks.encode()).fetchall()) == tried
