"""What is said of the workers that are alive."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import UUID

from generation_worker import __version__
from generation_worker.db.fleet import Gate, LaneFront, MaintenanceTask, WorkerProcess
from generation_worker.doctor.fleet import judge_gates, judge_lanes, judge_maintenance, judge_workers

NOW = datetime(2026, 11, 22, tzinfo=UTC)
ONE = WorkerProcess("web-1", "busy", 3, 0, 5, ["gemini"], __version__, NOW, NOW, 2.0)
FRONT = LaneFront("gemini", UUID(int=1), "ada", "text_to_image", NOW, 125.0, 1)


def test_nobody_is_no_fault() -> None:
    assert judge_workers([]) == ("ok", "none is running", None)


def test_who_is_alive_and_with_which_version() -> None:
    verdict = judge_workers([ONE, ONE._replace(id="web-2", state="silent")])
    said = f"web-1 ({__version__}, busy, 3 of 5); 1 fell silent within the last day, web-2 the latest"
    assert verdict == ("ok", said, None)


def test_a_fleet_of_several_versions() -> None:
    verdict = judge_workers([ONE, ONE._replace(id="web-2", version="0.0.9")])
    assert verdict.status == "warning"
    assert f"web-2 (0.0.9, busy, 3 of 5); this is {__version__}" in verdict.detail


def test_a_worker_with_a_stuck_thread() -> None:
    verdict = judge_workers([ONE._replace(stuck=1, state="stuck")])
    assert verdict.status == "warning"
    assert "Jobs of web-1" in (verdict.remedy or "")


def test_a_large_fleet_is_told_in_part() -> None:
    assert judge_workers([ONE] * 6).detail.endswith(", …")


def test_jobs_that_nobody_serves() -> None:
    assert judge_lanes([])[0].detail == "nothing waits"
    assert judge_lanes([FRONT])[0].status == "ok"
    [verdict] = judge_lanes([FRONT, FRONT._replace(provider="replicate", workers=0)])
    assert verdict.status == "warning"
    assert "jobs for replicate wait since 2m 5s" in verdict.detail
    assert "what replicate needs" in (verdict.remedy or "")
    [verdict] = judge_lanes([FRONT._replace(provider="none", workers=0)])
    assert "needs" not in (verdict.remedy or "")


def test_a_key_that_nothing_is_asked_with() -> None:
    gate = Gate("gemini-1a2b3c4d", "gemini", 60, 3, "ok", None, 0.0, None, 0, 1)
    limited = gate._replace(state="limited", reason="429", seconds=5.0)
    assert judge_gates([])[0].status == judge_gates([gate])[0].status == judge_gates([gate, limited])[0].status == "ok"
    [verdict] = judge_gates([gate, gate._replace(state="open", reason="401", seconds=40.0)])
    assert verdict.status == "warning"
    assert verdict.detail == "no calls are made with key gemini-1a2b3c4d: 401; tried again in 40s"
    assert "providers.gemini" in (verdict.remedy or "")


def test_maintenance_that_does_not_get_through() -> None:
    task = MaintenanceTask("sweep", 60.0, None, None)
    assert judge_maintenance([task])[0].status == "ok"
    [verdict] = judge_maintenance([task, task._replace(name="prune", last_error="storage_unavailable")])
    assert (verdict.status, verdict.detail) == ("warning", "prune failed: storage_unavailable")


def test_books_that_were_found_wrong() -> None:
    found = {"violations": {"entries_chain_without_gap": 2, "final_means_finished": 0, "another": None}}
    [verdict] = judge_maintenance([MaintenanceTask("audit", 60.0, None, found)])
    assert (verdict.status, verdict.detail) == ("fault", "the books break a rule: entries_chain_without_gap")
    assert "credits audit" in (verdict.remedy or "")
