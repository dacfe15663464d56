"""Records of libraries are written like our own."""

import json
import logging
from io import StringIO

import pytest
import structlog

from generation_worker.log.redaction import hide_secrets
from generation_worker.log.setup import configure


def test_a_library_s_record_is_a_line_like_ours(stream: StringIO) -> None:
    configure("info", "json", stream)
    with structlog.contextvars.bound_contextvars(job_id="0190"):
        logging.getLogger("psycopg.pool").warning("lost %d connections\x1b", 3)
    line = json.loads(stream.getvalue())
    assert line.pop("timestamp").endswith("Z")
    assert line == {
        "level": "warning",
        "event": "lost 3 connections\\x1b",
        "logger": "psycopg.pool",
        "job_id": "0190",
    }


def test_its_exceptions_are_cleaned_too(stream: StringIO) -> None:
    hide_secrets(["pw-secret"])
    configure("info", "json", stream)
    try:
        raise ValueError("pw-secret")
    except ValueError:
        logging.getLogger("uvicorn.error").exception("failed")
    line = json.loads(stream.getvalue())
    assert line["exception"][0]["exc_value"] == "***"


@pytest.mark.parametrize("name", ["uvicorn", "uvicorn.access", "alembic"])
def test_handlers_of_its_own_are_taken_away(stream: StringIO, name: str) -> None:
    logger, own = logging.getLogger(name), StringIO()
    logger.addHandler(logging.StreamHandler(own))
    logger.propagate = False
    configure("info", "json", stream)
    logger.warning("hello")
    assert own.getvalue() == ""
    assert stream.getvalue().count("\n") == 1


@pytest.mark.parametrize("name", ["botocore.auth", "httpx", "urllib3.connectionpool", "PIL.PngImagePlugin"])
def test_libraries_that_log_every_request_only_warn(stream: StringIO, name: str) -> None:
    configure("debug", "json", stream)
    logging.getLogger(name).info("headers")
    logging.getLogger(name).warning("look")
    assert [json.loads(line)["event"] for line in stream.getvalue().splitlines()] == ["look"]


def test_a_record_that_cannot_be_formatted_is_reported_without_its_content(stream: StringIO) -> None:
    configure("info", "json", stream)
    logging.getLogger("x").error("%d", "pw-secret")
    line = json.loads(stream.getvalue())
    assert line["event"].startswith("a log record could not be formatted: ")
    assert "pw-secret" not in stream.getvalue()
