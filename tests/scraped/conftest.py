"""A Prometheus of its own for these tests. They run where `python -m tests.prometheus` has found one."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.e2e.conftest import app, start_worker, storage

__all__ = ["app", "start_worker", "storage"]

collect_ignore_glob = [] if "TEST_PROMETHEUS" in os.environ else ["test_*.py"]


@pytest.fixture(scope="session")
def programs() -> Path:
    """Where prometheus and promtool are."""
    return Path(os.environ["TEST_PROMETHEUS"])
