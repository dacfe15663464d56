"""The three roles of sql/roles.sql: what each needs it can do, and nothing else."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest
from psycopg.errors import InsufficientPrivilege
from psycopg.types.json import Jsonb

from generation_worker.db.credits import find_account
from generation_worker.db.ledger import find_violations
from generation_worker.db.server import list_functions, list_table_rights
from generation_worker.db.statements import load_statements, names_in
from generation_worker.doctor.postgres import judge_rights, our_tables
from tests.canaries.values import PASSWORD
from tests.sql.conftest import FOLDER, Psql
from tests.support import jobs
from tests.support.database import NAMESPACE, SCHEMA, Connection, Database, listen, queries_on
from tests.support.jobs import PROMPT
from tests.support.populated import Population, populate
from tests.support.processes import WorkerProcess
from tests.support.servers import with_login

NAMES = ("enqueuer", "reader", "worker")
READS = sorted(path.name for path in FOLDER.glob("*.sql") if path.read_text().startswith("-- READS ONLY"))
TABLES = (
    "generation_job", "job_attempt", "provider_call", "staged_image", "credit_account", "credit_entry", "fleet_setting",
    "worker_process", "provider_gate", "maintenance_task", "audit_event", "api_token",
    "api_token_pace", "dashboard_session", "webhook_endpoint", "webhook_delivery", "webhook_batch",
    "swept_upload", "generation_worker_version",
)  # fmt: skip
NOBODY_MAY = [
    "CREATE TABLE mine (id int)",
    "CREATE FUNCTION mine() RETURNS int LANGUAGE sql AS 'SELECT 1'",
    "CREATE ROLE mine",
    "ALTER TABLE generation_job DISABLE TRIGGER state_chart",
    "ALTER TABLE credit_entry DISABLE TRIGGER append_only",
    "CREATE INDEX ON generation_job (user_id)",
    "SET session_replication_role = replica",
    "SELECT * FROM secret_of_the_app",
    "SELECT post_credits('ada', 'grant', 1, NULL, NULL, NULL)",
    "SELECT refund_generation()",
    "UPDATE credit_entry SET amount = 1",
    "DELETE FROM credit_entry",
    "UPDATE audit_event SET actor = 'somebody else'",
    "DELETE FROM audit_event",
    "DELETE FROM credit_account",
    "DELETE FROM api_token",
    "UPDATE api_token SET scopes = '{admin}'",
    "INSERT INTO credit_account (user_id, balance) VALUES ('eve', 1000)",
    "INSERT INTO generation_job (kind, user_id, provider, payload, cost) VALUES ('text_to_image', 'eve', 'x', '{}', 0)",
    "UPDATE generation_job SET payload = '{}'",
    "UPDATE generation_job SET cost = 0",
    "UPDATE generation_job SET user_id = 'eve'",
    "UPDATE credit_account SET fair_weight = 1000",
    "UPDATE generation_worker_version SET version_num = '9999'",
    *(f"TRUNCATE {table}" for table in TABLES),
    *(f"DROP TABLE {table}" for table in TABLES),
]


QUESTIONS = (
    "account", "account_entries", "list_tokens", "show_token", "list_events", "find_scan_end", "balances",
    "calls", "chosen_jobs",
    "count_chosen_jobs", "count_jobs", "dead_letters", "duplicate_calls", "failures_by_code", "find_jobs",
    "fleet_settings", "functions", "gates", "history", "job", "job_attempts", "job_calls", "job_changes", "job_entries",
    "job_previews", "job_images", "job_pauses", "jobs_of_user", "lanes", "maintenance", "next_due", "oldest_snapshot",
    "oldest_waiting", "pauses", "processing_jobs", "queue_position", "schema_place", "server", "table_health",
    "table_rights", "throughput", "vacuum_holders", "webhook_deliveries", "webhook_endpoints", "workers",
)  # fmt: skip
"""Statements that only look: what a dashboard of the operator's own may want to ask."""
WITHOUT_A_PLAN = ("listen", "one_snapshot")


@pytest.fixture
def roles(psql: Psql, connection: Connection) -> Iterator[dict[str, str]]:
    """The three roles, made by the script. A role belongs to the whole server, so the names are our own."""
    names = {name: f"{name}_{uuid4().hex[:8]}" for name in NAMES}
    connection.execute("CREATE TABLE secret_of_the_app (word text)")
    assert psql("roles.sql", schema=SCHEMA, **names) == []
    yield names
    connection.execute("DROP TABLE secret_of_the_app")
    for name in names.values():
        connection.execute(f"DROP OWNED BY {name}".encode())
        connection.execute(f"DROP ROLE {name}".encode())


@pytest.fixture
def become(roles: dict[str, str], database: Database) -> Iterator[Callable[[str], Connection]]:
    """`become("reader")`: a connection of that role."""
    opened: list[Connection] = []

    def connect(name: str) -> Connection:
        opened.append(database.connect_direct())
        opened[-1].execute(f"SET SESSION AUTHORIZATION {roles[name]}".encode())
        return opened[-1]

    yield connect
    for each in opened:
        each.close()


@pytest.fixture
def population(connection: Connection) -> Population:
    return populate(connection)


Become = Callable[[str], Connection]


@pytest.mark.parametrize("name", NAMES)
def test_what_none_of_them_may(become: Become, population: Population, name: str):
    role = become(name)
    for statement in NOBODY_MAY:
        with pytest.raises(InsufficientPrivilege):
            role.execute(statement.encode())


# the enqueuer


def test_the_enqueuer_enqueues_and_cancels(become: Become, population: Population):
    role = become("enqueuer")
    one = role.execute("SELECT id FROM enqueue_generation('text_to_image', 'ada', %s)", (Jsonb(PROMPT),)).fetchone()
    many = Jsonb([{"kind": "text_to_image", "user_id": "ada", "payload": PROMPT}] * 2)
    assert len(role.execute("SELECT id FROM enqueue_generations(%s)", (many,)).fetchall()) == 2
    assert role.execute("SELECT status FROM cancel_generation(%s)", one).fetchone() == ("cancelled",)


@pytest.mark.parametrize("table", TABLES)
def test_the_enqueuer_sees_no_table(become: Become, table: str):
    role = become("enqueuer")
    for statement in (f"SELECT FROM {table}", f"DELETE FROM {table}", f"INSERT INTO {table} DEFAULT VALUES"):
        with pytest.raises(InsufficientPrivilege):
            role.execute(statement.encode())


def test_the_enqueuer_may_call_nothing_else(roles: dict[str, str], connection: Connection):
    may_call = f"""
      SELECT proname FROM pg_proc
       WHERE pronamespace = {NAMESPACE} AND has_function_privilege(%s, oid, 'EXECUTE') ORDER BY 1
    """
    found = [row[0] for row in connection.execute(may_call.encode(), (roles["enqueuer"],))]
    assert found == ["cancel_generation", "enqueue_generation", "enqueue_generations"]


# the reader


@pytest.mark.parametrize("name", READS)
def test_the_reader_runs_every_file_that_only_reads(
    psql: Psql, roles: dict[str, str], population: Population, name: str
):
    psql(name, role=roles["reader"])


def test_the_reader_answers_every_question_but_what_a_job_asks_for(become: Become, population: Population):
    role = become("reader")
    refused: list[str] = []
    for name in QUESTIONS:
        try:
            explain(role, load_statements(SCHEMA)[name])
        except InsufficientPrivilege:
            refused.append(name)
    assert refused == ["job", "job_previews"]
    assert find_violations(queries_on(role), max_paid_calls=2) == []
    assert find_account(queries_on(role), "ada") is not None


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT payload FROM generation_job",
        "SELECT * FROM generation_job",
        "SELECT bytes FROM staged_image",
        "SELECT secret_hash FROM api_token",
        "SELECT secret FROM webhook_endpoint",
        "SELECT old_secret FROM webhook_endpoint",
        "SELECT * FROM webhook_endpoint",
        "UPDATE generation_job SET priority = 0",
        "UPDATE fleet_setting SET value = '0'",
        "INSERT INTO audit_event (actor, action, target) VALUES ('ada', 'nothing', 'nobody')",
        "SELECT enqueue_generation('text_to_image', 'ada', '{\"prompt\": \"a kite\"}')",
        "SELECT cancel_generation(gen_random_uuid())",
        "SELECT grant_credits('ada', 1)",
        "SELECT offer_providers(array['mine'])",
        "SELECT id FROM generation_job FOR UPDATE",
    ],
)
def test_the_reader_sees_no_prompt_and_changes_nothing(become: Become, population: Population, statement: str):
    with pytest.raises(InsufficientPrivilege):
        become("reader").execute(statement.encode())


# the worker


def test_the_worker_may_run_every_statement_of_its_own(become: Become, population: Population):
    """A statement that is new and meets a new table fails here: grant the table in sql/roles.sql."""
    role = become("worker")
    for name in load_statements().keys() - {*names_in("migrations"), *names_in("demo"), *WITHOUT_A_PLAN}:
        explain(role, load_statements(SCHEMA)[name])


def test_doctor_finds_that_the_worker_may_do_enough_and_the_others_not(become: Become):
    def look(name: str) -> str:
        queries = queries_on(become(name))
        return judge_rights(list_table_rights(queries, our_tables()), list_functions(queries), name).status

    assert [look(name) for name in NAMES] == ["fault", "fault", "ok"]


def test_a_whole_worker(connection: Connection, database: Database, roles: dict[str, str], tmp_path: Path):
    connection.execute(f"ALTER ROLE {roles['worker']} LOGIN PASSWORD '{PASSWORD}'".encode())
    jobs.offer_local(connection)
    jobs.grant(connection)
    made = [jobs.enqueue(connection) for _ in range(3)]
    address = with_login(database.direct_conninfo, roles["worker"], PASSWORD)
    settings = {
        "DATABASE_URL": address,
        "DATABASE_SCHEMA": SCHEMA,
        "STORAGE_DIR": str(tmp_path / "storage"),
        "IMAGE_CHILDREN": "1",
        "WORKER_ENABLE_HEALTH_CHECK": "false",
        "RETENTION": "90d",
        "LOG_FORMAT": "json",
    }
    with WorkerProcess(tmp_path / "worker", settings, ["--until-empty"]) as worker:
        assert worker.exit_status() == 0
        assert "permission denied" not in worker.said()
        assert worker.events("listen.live")
    assert {jobs.job(connection, each)["status"] for each in made} == {"completed"}
    assert find_violations(queries_on(connection), max_paid_calls=2) == []


def test_the_worker_listens_and_notifies(become: Become):
    role = become("worker")
    listen(role)
    role.execute(load_statements(SCHEMA)["send_message"], {"message": "wake"})
    assert [notify.payload for notify in role.notifies(timeout=30, stop_after=1)] == ["wake"]


# all of them


def test_again_it_changes_nothing_and_takes_away_what_is_not_theirs(
    psql: Psql, roles: dict[str, str], connection: Connection, become: Become
):
    def rights() -> list[tuple[str, ...]]:
        asked = f"SELECT oid::regclass::text, relacl::text FROM pg_class WHERE relnamespace = {NAMESPACE}"
        return sorted(connection.execute(f"{asked} ORDER BY 1".encode()).fetchall(), key=str)

    before = rights()
    connection.execute(f"GRANT ALL ON generation_job, credit_entry TO {roles['reader']}".encode())
    assert rights() != before
    psql("roles.sql", schema=SCHEMA, **roles)
    assert [name for name, _ in rights()] == [name for name, _ in before]
    with pytest.raises(InsufficientPrivilege):
        become("reader").execute("SELECT payload FROM generation_job")


def test_nobody_is_everybody(connection: Connection):
    open_to_all = f"""
      SELECT proname FROM pg_proc, LATERAL aclexplode(coalesce(proacl, acldefault('f', proowner))) AS acl
       WHERE pronamespace = {NAMESPACE} AND grantee = 0 AND proname NOT LIKE 'reset'
    """
    assert connection.execute(open_to_all.encode()).fetchall() == []


def explain(role: Connection, statement: bytes) -> None:
    """Plan a statement with nothing in its places: whether it may run is asked then."""
    names = dict.fromkeys(re.findall(r"%\((\w+)\)s", statement.decode()))
    with role.transaction(force_rollback=True):
        psycopg.ClientCursor(role).execute(b"EXPLAIN " + statement, names)
