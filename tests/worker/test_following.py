"""A worker follows what is decided for the whole fleet while it runs."""

from __future__ import annotations

import pytest

from generation_worker.ports import Claim, DisabledEndpoint, FleetPause, FleetState
from tests.support.waiting import wait_until
from tests.worker.scripted_store import ScriptedStore, Told, jobs, unavailable
from tests.worker.test_supervisor import Build, build

__all__ = ["build"]

QUICK = {"lease": 0.04}
PAUSED = FleetPause("everything", "2026-01-01T00:00:00+00:00", "cli:ada", "a fire")


def test_what_is_decided_at_its_start_holds_before_its_first_claim(build: Build, store: ScriptedStore, told: Told):
    store.answer("touch_worker", FleetState("1", concurrency=2, poll_interval=0.02))
    house = build(concurrency=4)
    house.start()
    wait_until(lambda: bool(store.calls("claim_jobs")), "it claims")
    assert store.calls("claim_jobs")[0][1]["slots"] == 2
    assert told.fields("fleet.followed") == {"concurrency": 2, "poll_interval": 0.02, "paused": []}
    assert house.supervisor.report()["concurrency"] == 2


def test_it_asks_only_for_what_it_does_not_know(build: Build, store: ScriptedStore):
    store.answer("touch_worker", FleetState("1", concurrency=2), None, FleetState("2"))
    house = build(concurrency=4, **QUICK)
    house.start()
    wait_until(lambda: len(store.calls("touch_worker")) >= 4, "four beats")
    asked = [(named["known"], args[0].concurrency) for args, named in store.calls("touch_worker")]
    assert asked[:4] == [("", 4), ("1", 2), ("1", 2), ("2", 4)]  # taken back, its own concurrency holds again


def test_woken_it_looks_at_once_and_changes_nothing(build: Build, store: ScriptedStore, told: Told):
    store.answer("touch_worker", FleetState("1", concurrency=2))
    house = build(concurrency=4, **QUICK, poll_interval=3600)
    house.start()
    wait_until(lambda: len(store.calls("touch_worker")) >= 3, "it has found nothing, and rests")
    looked = len(store.calls("claim_jobs"))
    store.answer("touch_worker", FleetState("2", concurrency=2, woken="2026-01-01T00:00:00+00:00"))
    wait_until(lambda: len(store.calls("claim_jobs")) > looked, "it looks again")
    wait_until(lambda: store.calls("touch_worker")[-1][1]["known"] == "2", "it knows that it was woken")
    assert told.names.count("fleet.followed") == 1


def test_more_at_once_while_it_works(build: Build, store: ScriptedStore):
    house = build(concurrency=1, **QUICK)
    house.begin(1)
    store.answer("claim_jobs", Claim(jobs(2, first=2), []))
    store.answer("touch_worker", FleetState("1", concurrency=3))
    wait_until(lambda: len(house.work.begun) == 3, "all three run")
    assert house.supervisor.report()["busy"] == 3


def test_less_at_once_lets_what_runs_end(build: Build, store: ScriptedStore):
    house = build(concurrency=3, **QUICK)
    held = house.begin(3)
    store.answer("touch_worker", FleetState("1", concurrency=1))
    wait_until(lambda: house.supervisor.report()["concurrency"] == 1, "it follows")
    house.work.go_on.set()
    wait_until(lambda: len(house.settled()) == 3, "all are settled")
    assert set(house.settled().values()) == {"completed"}
    assert {job.id for job in held} == house.settled().keys()


def test_a_stuck_thread_is_one_too_many_when_there_is_only_one(build: Build, store: ScriptedStore):
    store.answer("touch_worker", FleetState("1", concurrency=1))
    house = build(concurrency=4, max_stuck=2, timeout=0.01)
    house.work.deaf = True
    house.begin(1)
    wait_until(lambda: not house.supervisor.report()["live"], "only a restart helps")


@pytest.mark.parametrize(("pauses", "phase"), [((PAUSED,), "paused"), ((PAUSED._replace(what="kind x"),), "running")])
def test_health_says_what_is_paused_by_whom_and_why(
    build: Build, store: ScriptedStore, pauses: tuple[FleetPause, ...], phase: str
):
    store.answer("touch_worker", FleetState("1", pauses=pauses))
    house = build()
    house.start()
    report = house.supervisor.report()
    assert (report["worker"], report["status"], report["ready"], report["live"]) == (phase, "healthy", True, True)
    assert report["paused"] == [pauses[0]._asdict()]


def test_health_says_which_endpoints_are_told_nothing(build: Build, store: ScriptedStore):
    endpoint = DisabledEndpoint("e", "2026-01-01T00:00:00+00:00", "it is gone")
    store.answer("touch_worker", FleetState("1", disabled=(endpoint,)))
    house = build()
    house.start()
    report = house.supervisor.report()
    assert (report["status"], report["disabled_endpoints"]) == ("healthy", [endpoint._asdict()])


def test_a_database_that_is_away_at_the_start_is_asked_again(build: Build, store: ScriptedStore):
    store.answer("touch_worker", unavailable, FleetState("1", concurrency=2))
    house = build(concurrency=4, **QUICK)
    house.start()
    wait_until(lambda: house.supervisor.report()["concurrency"] == 2, "it follows")
