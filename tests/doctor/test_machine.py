"""The machine's port, disk and memory."""

from __future__ import annotations

import os
import resource
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from generation_worker.config import Settings, load_settings
from generation_worker.doctor import machine as images
from generation_worker.doctor.machine import GB, available_memory, judge_memory, judge_space, machine_checks
from generation_worker.domain.finding import Verdict
from generation_worker.web.api.fleet import health_router
from generation_worker.web.app import WebServer, create_app

MB = 1024 * 1024


@pytest.fixture
def taken() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        yield taken


def settings(**values: object) -> Settings:
    return load_settings({name: str(value) for name, value in values.items()})


def port(**values: object) -> Verdict:
    [verdict] = [check.run() for check in machine_checks(settings(**values)) if check.name == "machine.port"]
    assert isinstance(verdict, Verdict)
    return verdict


def a_report() -> dict[str, Any]:
    return {
        "status": "healthy",
        "worker": "running",
        "problems": [],
        "paused": [],
        "disabled_endpoints": [],
        "ready": True,
        "live": True,
        "id": "web-1",
        "version": "0.1.0",
        "concurrency": 5,
        "busy": 0,
        "stuck": 0,
        "unwritten": 0,
        "listening": True,
        "uptime_seconds": 1.0,
    }


def test_a_port_that_is_free(taken: socket.socket) -> None:
    number = taken.getsockname()[1]
    taken.close()
    assert port(PORT=number, HEALTH_HOST="127.0.0.1") == ("ok", f"{number} is free", None)
    assert port(PORT=number, HEALTH_HOST="127.0.0.1").status == "ok", "it was given back"


def test_a_port_that_somebody_else_has(taken: socket.socket) -> None:
    verdict = port(PORT=taken.getsockname()[1], HEALTH_HOST="127.0.0.1")
    assert verdict.status == "fault"
    assert "in use by another program" in verdict.detail


def test_a_port_that_one_of_ours_serves() -> None:
    server = WebServer(create_app([health_router], report=a_report), host="127.0.0.1", port=0)
    server.start()
    try:
        verdict = port(PORT=server.port, HEALTH_HOST="127.0.0.1")
    finally:
        server.stop()
    assert verdict.status == "ok"
    assert f"{server.port} is served by worker web-1 (0.1.0, running)" in verdict.detail


def test_an_address_that_is_not_ours() -> None:
    verdict = port(PORT=8080, HEALTH_HOST="192.0.2.1")
    assert verdict.status == "fault"
    assert "HEALTH_HOST" in (verdict.remedy or "")


def test_no_port_at_all() -> None:
    assert port(PORT=0).status == "ok"
    off = {"WORKER_ENABLE_HEALTH_CHECK": "false", "ENABLE_API": "false"}
    assert port(**off, PORT=0).status == "ok"
    off["WORKER_ENABLE_METRICS"] = "false"
    assert port(**off, PORT=0).status == "ok"
    assert port(**off, ENABLE_DASHBOARD="false").status == "skipped"


def test_space_on_the_disk() -> None:
    assert [judge_space(free).status for free in (10 * GB, GB - 1, GB // 10 - 1)] == ["ok", "warning", "fault"]
    assert "STORAGE_DIR" in judge_space(0).detail


def inputs(**values: object) -> Verdict:
    [both] = [check.run() for check in machine_checks(settings(**values)) if check.name == "machine.disk"]
    assert not isinstance(both, Verdict)
    return both[1]


def test_room_for_inputs(tmp_path: Path) -> None:
    assert inputs(FETCH_CACHE_MB=0).status == "skipped"
    assert inputs(FETCH_CACHE_DIR=tmp_path / "not" / "there", FETCH_CACHE_MB=1).status == "ok"
    verdict = inputs(FETCH_CACHE_DIR=tmp_path, FETCH_CACHE_MB=1_000_000)
    assert (verdict.status, "FETCH_CACHE_MB" in (verdict.remedy or "")) == ("warning", True)
    assert list(tmp_path.iterdir()) == []


def test_a_place_for_inputs_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> bool:
        return False

    monkeypatch.setattr(os, "access", refuse)
    assert inputs(FETCH_CACHE_DIR=tmp_path).status == "fault", "the worker would not start"
    assert inputs().status == "warning"


def test_memory_that_the_machine_does_not_have() -> None:
    two = settings(IMAGE_CHILDREN=2, IMAGE_MEMORY_MB=512)
    assert judge_memory(two, 1024 * MB).status == "ok"
    assert judge_memory(two, None).status == "ok"
    verdict = judge_memory(two, 1023 * MB)
    assert verdict.status == "warning"
    assert "IMAGE_CHILDREN" in (verdict.remedy or "")


def test_memory_that_the_system_does_not_allow_a_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "_hard_limit", lambda: 256 * MB)
    monkeypatch.setattr(sys, "platform", "linux")
    verdict = judge_memory(settings(IMAGE_MEMORY_MB=512), None)
    assert (verdict.status, "256 MB" in verdict.detail) == ("warning", True)


def test_what_the_machine_has_is_known() -> None:
    found = available_memory()
    assert found is not None
    assert found > 64 * MB
    assert resource.getpagesize() < found
