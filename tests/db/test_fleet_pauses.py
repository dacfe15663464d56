"""A pause holds in the claim itself, from its commit on, and costs the claim nothing."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from generation_worker.db import fleet
from generation_worker.db.audit_trail import Author, list_events
from generation_worker.db.fleet import PARK_BATCH, Pause, list_pauses, park_paused_jobs, pauses_of_job
from generation_worker.domain.fleet import EVERYTHING, Extent, extent_of
from generation_worker.domain.refusals import InvalidRequest
from generation_worker.ports import LimitedKey
from tests.support.database import Connection, Database, queries_on
from tests.support.jobs import enqueue, grant, put_job
from tests.support.protocol import RELEASED, Worker, attempts, everything
from tests.support.waiting import wait_for_lock_waiters

ADA = Author("cli:ada", "a fire")
IMAGE = {"image": {"key": "a.png"}, "operations": [{"type": "thumbnail", "size": 64}]}
PROVIDER, KIND, USER = Extent("provider", "local"), Extent("kind", "text_to_image"), Extent("user", "ada")
EXTENTS = [EVERYTHING, PROVIDER, KIND, USER]


def pause(connection: Connection, extent: Extent, *, by: Author) -> bool:
    return fleet.pause(queries_on(connection), extent, by=by)


def resume(connection: Connection, extent: Extent, *, by: Author) -> bool:
    return fleet.resume(queries_on(connection), extent, by=by)


@pytest.fixture
def other_lane(worker: Worker) -> Worker:
    """A worker of two lanes, in both of which somebody's job waits."""
    worker.connection.execute("SELECT offer_providers(array['other'])")
    return Worker(worker.connection, lanes=("local", "other", "none"))


def put(connection: Connection, *, user: str = "ada", kind: str = "text_to_image", provider: str = "local") -> str:
    if kind == "image_processing":
        return str(put_job(connection, user_id=user, kind=kind, payload=IMAGE, provider="none"))
    return str(put_job(connection, user_id=user, kind=kind, provider=provider))


def claimed(worker: Worker) -> set[str]:
    return {job.id for job in worker.claim().jobs}


def held(connection: Connection) -> int:
    row = connection.execute("SELECT count(*) FROM generation_job WHERE parked").fetchone()
    assert row is not None
    return row[0]


def paused_now(connection: Connection) -> list[Pause]:
    return list_pauses(queries_on(connection))


def aside(connection: Connection) -> int:
    return sum(park_paused_jobs(queries_on(connection)))


@pytest.mark.parametrize("tidy", [False, True], ids=["as it is", "put aside"])
@pytest.mark.parametrize(
    ("extent", "goes_on"),
    [
        (EVERYTHING, set[str]()),
        (PROVIDER, {"other", "bobs other", "processing"}),
        (KIND, {"processing"}),
        (Extent("kind", "image_processing"), {"mine", "bobs", "other", "bobs other"}),
        (USER, {"bobs", "bobs other"}),
        (Extent("provider", "none"), {"mine", "bobs", "other", "bobs other"}),
    ],
    ids=["everything", "a provider", "a kind", "processing", "a user", "no provider"],  # a set's own words vary
)
def test_nothing_starts_that_is_paused_and_all_else_does(
    other_lane: Worker, connection: Connection, extent: Extent, goes_on: set[str], tidy: bool
):
    ids = {
        "mine": put(connection),
        "bobs": put(connection, user="bob"),
        "other": put(connection, provider="other"),
        "bobs other": put(connection, user="bob", provider="other"),
        "processing": put(connection, kind="image_processing"),
    }
    assert pause(connection, extent, by=ADA)
    if tidy:
        aside(connection)
    assert claimed(other_lane) == {ids[name] for name in goes_on}
    assert resume(connection, extent, by=ADA)
    if tidy:
        aside(connection)
    assert claimed(other_lane) == {ids[name] for name in ids.keys() - goes_on}
    assert held(connection) == 0


@pytest.mark.parametrize("extent", EXTENTS, ids=str)
def test_it_holds_behind_a_gate_too_and_for_answers_that_are_paid_for(
    worker: Worker, connection: Connection, extent: Extent
):
    put(connection)
    put_job(connection, has_answer=True)
    connection.execute("INSERT INTO provider_gate (key_label, provider, calls_per_minute) VALUES ('k', 'local', 60)")
    keys = [LimitedKey("k", "local", 60)]
    pause(connection, extent, by=ADA)
    before = everything(connection)
    assert worker.claim(keys=keys).jobs == []
    aside(connection)
    assert worker.claim(keys=keys).jobs == []
    resume(connection, extent, by=ADA)
    aside(connection)
    assert everything(connection) == before  # held and freed again: nothing is left of it
    assert len(worker.claim(keys=keys).jobs) == 2


@pytest.mark.parametrize("order", [(KIND, USER), (USER, KIND)], ids=["the kind first", "the user first"])
def test_two_pauses_of_one_job_have_to_end_both(worker: Worker, connection: Connection, order: tuple[Extent, Extent]):
    put(connection)
    for extent in (KIND, USER):
        pause(connection, extent, by=ADA)
    aside(connection)
    for last, extent in zip((False, True), order, strict=True):
        resume(connection, extent, by=ADA)
        aside(connection)
        assert (held(connection), len(claimed(worker))) == ((0, 1) if last else (1, 0))


def test_what_runs_goes_on_and_waits_if_it_comes_back(worker: Worker, connection: Connection):
    put(connection)
    running = worker.claim_one()
    pause(connection, USER, by=ADA)
    assert worker.renew(running)[running.id]
    assert worker.settle(running, RELEASED) == "pending"
    assert [attempt["outcome"] for attempt in attempts(connection, running.id)] == ["released"]
    assert claimed(worker) == set()


def test_jobs_may_be_enqueued_and_it_is_known_what_keeps_them(worker: Worker, connection: Connection):
    grant(connection)
    for extent in (USER, PROVIDER, Extent("user", "bob")):
        pause(connection, extent, by=ADA)
    job_id = enqueue(connection, cost=0)
    assert [(found.name, found.by, found.reason) for found in pauses_of_job(queries_on(connection), job_id)] == [
        ("paused.provider.local", "cli:ada", "a fire"),
        ("paused.user.ada", "cli:ada", "a fire"),
    ]
    assert claimed(worker) == set()


def test_a_user_whose_name_looks_like_a_pattern_pauses_nobody_else(worker: Worker, connection: Connection):
    names = ["a%", "ab", "a.b", "a", "A"]
    ids = {name: put(connection, user=name) for name in names}
    pause(connection, Extent("user", "a%"), by=ADA)
    pause(connection, Extent("user", "a.b"), by=ADA)
    aside(connection)
    assert claimed(worker) == {ids["ab"], ids["a"], ids["A"]}


def test_nothing_moves_to_a_second_provider_that_is_paused(other_lane: Worker, connection: Connection):
    connection.execute(
        "INSERT INTO provider_gate (key_label, provider, calls_per_minute, breaker, opened_at, open_until, opened_for)"
        " VALUES ('k', 'local', 60, 'open', now(), now() + interval '1 hour', '401')"
    )
    connection.execute(
        "INSERT INTO worker_process (id, version, providers, concurrency, keys)"
        " VALUES ('w', '0', '{local,other}', 1, '{k}')"
    )
    put_job(connection, fallback_provider="other")
    pause(connection, Extent("provider", "other"), by=ADA)
    assert other_lane.store.move_jobs(limit=10) == 0
    resume(connection, Extent("provider", "other"), by=ADA)
    assert other_lane.store.move_jobs(limit=10) == 1


# who, when, why


def test_who_paused_since_when_and_why(connection: Connection):
    pause(connection, KIND, by=ADA)
    first = paused_now(connection)
    assert not pause(connection, KIND, by=Author("cli:bob", "still"))
    second = paused_now(connection)
    assert [(found.name, found.by, found.reason) for found in first + second] == [
        ("paused.kind.text_to_image", "cli:ada", "a fire"),
        ("paused.kind.text_to_image", "cli:bob", "still"),
    ]
    assert first[0].since == second[0].since
    resume(connection, KIND, by=Author("cli:eve", "put out"))
    assert not resume(connection, KIND, by=ADA)
    events = list_events(queries_on(connection))
    assert [(event.actor, event.action, event.target, event.reason) for event in reversed(events)] == [
        ("cli:ada", "pause", "setting:paused.kind.text_to_image", "a fire"),
        ("cli:bob", "pause", "setting:paused.kind.text_to_image", "still"),
        ("cli:eve", "resume", "setting:paused.kind.text_to_image", "put out"),
    ]


@pytest.mark.parametrize(
    ("extent", "said"),
    [
        (Extent("provider", "nobody"), "no worker offers 'nobody'"),
        (Extent("kind", "video"), "'video' is not a kind of job"),
        (Extent("user", "x" * 256), "must have 1 to 255 characters"),
    ],
)
def test_what_there_is_not_is_not_paused(worker: Worker, connection: Connection, extent: Extent, said: str):
    with pytest.raises(InvalidRequest, match=said):
        pause(connection, extent, by=ADA)
    assert paused_now(connection) == []


@pytest.mark.parametrize("extent", [*EXTENTS, Extent("user", "a.b.c")], ids=str)
def test_an_extent_is_known_by_the_name_of_its_setting(extent: Extent):
    assert extent_of(extent.setting) == extent


@pytest.mark.parametrize("name", ["price.text_to_image", "paused.planet.mars", "paused.user."])
def test_other_names_are_no_extents(name: str):
    with pytest.raises(ValueError, match="is not a pause"):
        extent_of(name)


# out of the claims' way

MANY = """
INSERT INTO generation_job (kind, user_id, provider, payload, cost, position)
SELECT 'text_to_image', CASE WHEN n % %(every)s = 0 THEN 'bob' ELSE 'ada' END, 'local', '{"prompt": "a"}', 0,
       timestamptz '2026-01-01' + n * interval '1 s'
  FROM generate_series(1, %(number)s) n
"""


def fill(connection: Connection, number: int, *, every: int) -> None:
    """So many jobs, of which each ``every``-th is bob's and the others are ada's."""
    text = MANY.replace("%(number)s", str(number)).replace("%(every)s", str(every))
    connection.execute(text.encode())
    connection.execute("VACUUM ANALYZE generation_job")


def test_a_claim_does_not_read_through_a_paused_users_jobs(worker: Worker, connection: Connection):
    fill(connection, 10_000, every=10_000)  # bob's one stands behind them all
    pause(connection, USER, by=ADA)
    assert aside(connection) == 9_999
    connection.execute("VACUUM ANALYZE generation_job")
    with connection.transaction():
        before = rows_read(connection)
        (job,) = worker.claim(10).jobs
        assert job.user_id == "bob"
        assert rows_read(connection) - before < 50


def test_only_the_front_is_put_aside_where_others_wait_too(worker: Worker, connection: Connection):
    """Half of a line of sixteen thousand is paused: a claim finds enough of the other half at once."""
    fill(connection, 16_000, every=2)
    pause(connection, USER, by=ADA)
    assert aside(connection) <= 2 * PARK_BATCH
    assert {job.user_id for job in worker.claim(100).jobs} == {"bob"}


def test_a_job_that_is_held_wrongly_is_freed_by_maintenance_and_one_that_is_not_held_stays_paused(
    worker: Worker, connection: Connection
):
    wrongly, paused = put(connection, user="bob"), put(connection)
    connection.execute("UPDATE generation_job SET parked = true WHERE id = %s", (wrongly,))
    pause(connection, USER, by=ADA)
    assert claimed(worker) == set()
    assert (worker.store.park_paused_jobs(limit=10), worker.store.unpark_jobs(limit=10)) == (1, 1)
    assert claimed(worker) == {wrongly}
    assert worker.store.unpark_jobs(limit=10) == 0
    row = connection.execute("SELECT parked FROM generation_job WHERE id = %s", (paused,)).fetchone()
    assert row == (True,)


def test_a_pause_that_is_lifted_while_jobs_are_put_aside_leaves_none_behind(database: Database, worker: Worker):
    """Whoever lifts it waits for those who put aside because of it, and then finds all of theirs."""
    connection, slow, lifting = (database.connect() for _ in range(3))
    put(connection)
    pause(connection, USER, by=ADA)
    with ThreadPoolExecutor(1) as thread:
        with slow.transaction():
            assert Worker(slow).store.park_paused_jobs(limit=10) == 1
            lifted = thread.submit(lambda: resume(lifting, USER, by=ADA) and aside(lifting))
            wait_for_lock_waiters(connection, 1)
        assert lifted.result() == 1
    assert held(connection) == 0
    assert len(claimed(worker)) == 1


def rows_read(connection: Connection) -> int:
    """How many jobs this transaction has read so far."""
    row = connection.execute(
        "SELECT seq_tup_read + idx_tup_fetch FROM pg_stat_xact_user_tables WHERE relname = 'generation_job'"
    ).fetchone()
    assert row is not None
    return int(row[0])
