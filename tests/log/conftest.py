"""Logging is global: each test starts with its own configuration and removes it."""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Iterator
from io import StringIO

import pytest
import structlog

from generation_worker.log.redaction import known_secrets


@pytest.fixture(autouse=True)
def restore_logging() -> Iterator[None]:
    root = logging.getLogger()
    before = (root.handlers, root.level, sys.excepthook, threading.excepthook)
    yield
    logging.captureWarnings(False)
    root.handlers, level, sys.excepthook, threading.excepthook = before
    root.setLevel(level)
    known_secrets.clear()
    structlog.contextvars.clear_contextvars()


@pytest.fixture
def stream() -> StringIO:
    return StringIO()
