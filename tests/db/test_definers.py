"""Functions that run as their owner are a door for those who may not touch a table. Nothing else may come through."""

from collections.abc import Iterator
from uuid import UUID, uuid4

import psycopg
import pytest
from psycopg import sql
from psycopg.types.json import Jsonb

from generation_worker.db.statements import quoted
from tests.support.database import NAMESPACE, SCHEMA, Connection, Database
from tests.support.jobs import PROMPT, balance, grant, job, offer_local

OPEN = {
    "enqueue_generation", "enqueue_generations", "cancel_generation", "post_credits", "grant_credits", "adjust_credits",
    "write_job_deliveries", "write_breaker_delivery", "write_low_credits_delivery",
}  # fmt: skip
"""The functions that run as their owner, as far as we know."""
ENQUEUE = f"SELECT id FROM {quoted(SCHEMA)}.enqueue_generation('text_to_image', 'ada', %s)"
TABLES = [
    "generation_job", "job_attempt", "provider_call", "credit_account", "credit_entry", "fleet_setting",
    "worker_process", "maintenance_task", "webhook_endpoint", "webhook_delivery", "webhook_batch",
]  # fmt: skip


@pytest.fixture
def fleet(connection: Connection) -> Connection:
    offer_local(connection)
    grant(connection, "ada", 10)
    return connection


@pytest.fixture
def app(fleet: Connection, database: Database) -> Iterator[Connection]:
    """A connection of a role that may call enqueue_generation and cancel_generation, and nothing else."""
    role = sql.Identifier(f"app_{uuid4().hex}")
    fleet.execute(sql.SQL("CREATE ROLE {}").format(role))
    fleet.execute(sql.SQL("GRANT USAGE ON SCHEMA {} TO {}").format(sql.Identifier(SCHEMA), role))
    for function in ("enqueue_generation", "cancel_generation"):
        fleet.execute(sql.SQL("GRANT EXECUTE ON FUNCTION {} TO {}").format(sql.Identifier(function), role))
    connection = database.connect_direct()
    connection.execute(sql.SQL("SET SESSION AUTHORIZATION {}").format(role))
    yield connection
    connection.close()
    fleet.execute(sql.SQL("DROP OWNED BY {}").format(role))
    fleet.execute(sql.SQL("DROP ROLE {}").format(role))


def enqueue_as(connection: Connection) -> UUID:
    row = connection.execute(ENQUEUE.encode(), (Jsonb(PROMPT),)).fetchone()
    assert row is not None
    return row[0]


def test_functions_that_run_as_their_owner_are_those_we_know(connection: Connection):
    definers = f"SELECT proname FROM pg_proc WHERE prosecdef AND pronamespace = {NAMESPACE}"
    assert {row[0] for row in connection.execute(definers.encode())} == OPEN


def test_each_pins_a_search_path_that_ends_in_pg_temp(connection: Connection):
    configured = f"SELECT proname, proconfig FROM pg_proc WHERE prosecdef AND pronamespace = {NAMESPACE}"
    found = dict(connection.execute(configured.encode()).fetchall())
    assert found == {name: ["search_path=pg_catalog, pg_temp"] for name in OPEN}


def test_none_may_be_called_by_everybody(connection: Connection):
    callable_by_all = f"""
      SELECT proname FROM pg_proc, LATERAL aclexplode(coalesce(proacl, acldefault('f', proowner))) AS acl
       WHERE prosecdef AND pronamespace = {NAMESPACE} AND grantee = 0
    """
    assert connection.execute(callable_by_all.encode()).fetchall() == []


def test_a_role_that_may_only_call_them_enqueues_and_cancels(fleet: Connection, app: Connection):
    job_id = enqueue_as(app)
    assert job(fleet, job_id)["status"] == "pending"
    assert app.execute("SELECT status FROM cancel_generation(%s)", (job_id,)).fetchone() == ("cancelled",)


@pytest.mark.parametrize("table", TABLES)
def test_it_cannot_touch_a_table(app: Connection, table: str):
    for statement in (f"SELECT FROM {table}", f"DELETE FROM {table}", f"INSERT INTO {table} DEFAULT VALUES"):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            app.execute(statement.encode())


@pytest.mark.parametrize(
    "call",
    [
        "SELECT grant_credits('ada', 1)",
        "SELECT adjust_credits('ada', 1)",
        "SELECT post_credits('ada', 'grant', 1, NULL, NULL, NULL)",
        "SELECT enqueue_generations('[]')",
        "SELECT offer_providers(array['mine'])",
        "SELECT generation_price('text_to_image', 'local')",
        "SELECT generation_line_end('ada')",
    ],
)
def test_it_cannot_call_what_it_was_not_given(fleet: Connection, app: Connection, call: str):
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        app.execute(call.encode())
    assert balance(fleet) == 10


FREE_OF_CHARGE = """
CREATE TEMPORARY TABLE fleet_setting (name text PRIMARY KEY, value jsonb);
INSERT INTO fleet_setting VALUES ('price.text_to_image', '0'), ('seconds_per_credit', '0'), ('default_provider', '"x"');
"""


def test_a_temporary_table_does_not_stand_in_for_ours(fleet: Connection, app: Connection):
    app.execute(FREE_OF_CHARGE)
    app.execute("CREATE TEMPORARY TABLE generation_job (id uuid, status text)")
    app.execute("SET search_path = pg_temp, public")
    job_id = enqueue_as(app)
    assert (job(fleet, job_id)["cost"], job(fleet, job_id)["provider"]) == (1, "local")
    app.execute(f"SELECT {quoted(SCHEMA)}.cancel_generation(%s)".encode(), (job_id,))
    assert job(fleet, job_id)["status"] == "cancelled"


TRAP = """
CREATE TABLE public.trapped (by text);
GRANT INSERT ON public.trapped TO PUBLIC;
CREATE OR REPLACE FUNCTION public.jsonb_build_array(text, jsonb, text, bigint, integer) RETURNS jsonb
LANGUAGE plpgsql AS $$ BEGIN INSERT INTO public.trapped VALUES (current_user); RETURN '[]'; END $$;
CREATE OR REPLACE FUNCTION public.format(text, text, text) RETURNS text
LANGUAGE plpgsql AS $$ BEGIN INSERT INTO public.trapped VALUES (current_user); RETURN 'x'; END $$;
SET search_path = public, pg_catalog;
"""
"""Exact matches of variadic calls in enqueue_generations. Anybody who may create functions anywhere may define them."""
WITH_A_KEY = f"SELECT {quoted(SCHEMA)}.enqueue_generation('text_to_image', 'ada', %s, idempotency_key => 'k')"


def test_a_function_of_somebody_elses_does_not_stand_in_for_a_variadic_one(database: Database, fleet: Connection):
    connection = database.connect_direct()
    with connection.transaction(force_rollback=True):
        connection.execute(TRAP.encode())
        connection.execute(WITH_A_KEY.encode(), (Jsonb(PROMPT),))
        assert connection.execute("SELECT * FROM public.trapped").fetchall() == []


def test_it_would_stand_in_if_the_path_were_not_pinned(database: Database, fleet: Connection):
    """The attack of the test above is a real one."""
    connection = database.connect_direct()
    with connection.transaction(force_rollback=True):
        for function in ("enqueue_generation", "enqueue_generations"):
            connection.execute(f"ALTER FUNCTION {function} RESET search_path".encode())
        connection.execute(TRAP.encode())
        connection.execute(WITH_A_KEY.encode(), (Jsonb(PROMPT),))
        assert connection.execute("SELECT * FROM public.trapped").fetchall() != []
