"""The alerts of the page on operating: each fires on what it is for, and none while all is well."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.docs.documents import blocks

RULES = next(block.text for block in blocks("docs/operating.md") if block.language == "yaml")
ALERTS = re.findall(r"- alert: (\w+)", RULES)
WELL = {
    "up": "1",
    "worker_ready": "1",
    "worker_database_up": "1",
    "worker_jobs_pending": "3",
    'worker_oldest_pending_age_seconds{provider="gemini"}': "4",
    'worker_lane_workers{provider="gemini"}': "2",
    "worker_success_rate": "0.99",
    'worker_attempts_total{outcome="completed"}': "0+10x300",
    'worker_gate_state{provider="gemini",key="gemini-1",state="open"}': "0",
    'worker_ledger_violations{invariant="balances_are_never_negative"}': "0",
    'worker_maintenance_age_seconds{task="audit"}': "1800",
    "worker_duplicate_calls": "0",
    "worker_stuck_threads": "0",
    "worker_oldest_snapshot_age_seconds": "2",
    "worker_images_staged_total": "0",
    "worker_reclaims_total": "1",
    'worker_faults_total{event="loop.failed"}': "0",
    'worker_faults_total{event="database.unavailable"}': "0+1x300",
}
"""A worker whose figures worry nobody, minute after minute."""
TROUBLE = {
    "NoWorkerTakesJobs": {"worker_ready": "0"},
    "JobsWait": {'worker_oldest_pending_age_seconds{provider="gemini"}': "900"},
    "NobodyServesALane": {'worker_lane_workers{provider="gemini"}': "0"},
    "JobsFail": {"worker_success_rate": "0.5"},
    "BreakerIsOpen": {'worker_gate_state{provider="gemini",key="gemini-1",state="open"}': "1"},
    "BooksAreWrong": {'worker_ledger_violations{invariant="balances_are_never_negative"}': "1"},
    "MaintenanceIsLate": {'worker_maintenance_age_seconds{task="audit"}': "20000"},
    "PaidMoreThanOnce": {"worker_duplicate_calls": "1"},
    "DatabaseIsAway": {"worker_database_up": "0"},
    "ThreadsAreStuck": {"worker_stuck_threads": "1"},
    "SnapshotIsHeldOpen": {"worker_oldest_snapshot_age_seconds": "7200"},
    "StorageIsAway": {"worker_images_staged_total": "0+1x300"},
    "WorkersDie": {"worker_reclaims_total": "0+1x300"},
    "WorkerIsAtFault": {'worker_faults_total{event="loop.failed"}': "0+1x300"},
}
"""What each alert is for."""


@pytest.fixture
def rules(tmp_path: Path) -> Path:
    file = tmp_path / "rules.yml"
    file.write_text(RULES)
    return file


def promtool(programs: Path, *arguments: str | Path) -> tuple[int, str]:
    done = subprocess.run([programs / "promtool", *arguments], capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


def firing(programs: Path, rules: Path, series: dict[str, str]) -> list[str]:
    """The alerts that fire after four hours of these series."""
    samples = [{"series": name, "values": value if "x" in value else f"{value}x300"} for name, value in series.items()]
    none: list[dict[str, Any]] = [{"eval_time": "4h", "alertname": name, "exp_alerts": []} for name in ALERTS]
    test: dict[str, Any] = {"interval": "1m", "input_series": samples, "alert_rule_test": none}
    file = rules.with_name("tests.yml")
    file.write_text(json.dumps({"rule_files": [str(rules)], "evaluation_interval": "1m", "tests": [test]}))
    status, said = promtool(programs, "test", "rules", file)
    unexpected = re.findall(r"alertname: (\w+)", said)
    assert (status == 0) == (not unexpected), said
    return unexpected


def test_the_rules_are_well_formed(programs: Path, rules: Path) -> None:
    status, said = promtool(programs, "check", "rules", rules)
    assert status == 0, said
    assert f"{len(ALERTS)} rules found" in said


def test_each_alert_has_its_trouble() -> None:
    assert set(ALERTS) == TROUBLE.keys()


def test_no_alert_while_all_is_well(programs: Path, rules: Path) -> None:
    assert firing(programs, rules, WELL) == []


@pytest.mark.parametrize("alert", TROUBLE)
def test_an_alert_fires_and_no_other(programs: Path, rules: Path, alert: str) -> None:
    assert firing(programs, rules, WELL | TROUBLE[alert]) == [alert]
