"""The content and the safety of log lines."""

import json
import threading
import time
import warnings
from io import StringIO
from typing import Any
from uuid import UUID

import pytest
import structlog
from pydantic import SecretStr

from generation_worker.log.setup import configure, get_logger

log = get_logger("generation_worker.worker.poller")


def lines(stream: StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_line_has_time_level_event_and_logger_first(stream: StringIO) -> None:
    configure("info", "json", stream)
    log.info("job.claimed", job_id="0190", attempt=2, user="u1")
    (line,) = lines(stream)
    assert list(line) == ["timestamp", "level", "event", "logger", "job_id", "attempt", "user"]
    assert line | {"timestamp": ""} == {
        "timestamp": "",
        "level": "info",
        "event": "job.claimed",
        "logger": "generation_worker.worker.poller",
        "job_id": "0190",
        "attempt": 2,
        "user": "u1",
    }
    assert line["timestamp"].endswith("Z")
    assert "T" in line["timestamp"]


def test_what_is_bound_to_the_thread_is_on_every_line(stream: StringIO) -> None:
    configure("info", "json", stream)
    with structlog.contextvars.bound_contextvars(job_id="0190", attempt=1):
        log.info("attempt.started")
    log.info("poll")
    assert [line.get("job_id") for line in lines(stream)] == ["0190", None]


@pytest.mark.parametrize(
    ("level", "events"),
    [("debug", ["d", "i", "w", "e"]), ("info", ["i", "w", "e"]), ("warning", ["w", "e"]), ("error", ["e"])],
)
def test_levels(stream: StringIO, level: str, events: list[str]) -> None:
    configure(level, "json", stream)
    for method, event in ((log.debug, "d"), (log.info, "i"), (log.warning, "w"), (log.error, "e")):
        method(event)
    assert [line["event"] for line in lines(stream)] == events


def test_a_logger_follows_the_latest_configuration() -> None:
    first, second = StringIO(), StringIO()
    configure("info", "json", first)
    log.info("one")
    log.debug("hidden")
    configure("debug", "json", second)
    log.debug("two")
    assert [line["event"] for line in lines(first)] == ["one"]
    assert [line["event"] for line in lines(second)] == ["two"]


def test_below_the_level_nothing_is_looked_at(stream: StringIO) -> None:
    class Explodes:
        def __str__(self) -> str:
            raise AssertionError("looked at")

    configure("info", "json", stream)
    log.debug("x", value=Explodes())
    assert stream.getvalue() == ""


def test_values_become_json(stream: StringIO) -> None:
    class Broken:
        def __str__(self) -> str:
            raise RuntimeError("no")

    configure("info", "json", stream)
    log.info(
        "x",
        id=UUID(int=1),
        nan=float("nan"),
        huge=10**5000,
        data=b"12345",
        secret_str=SecretStr("pw"),
        broken=Broken(),
        nested={"a": (1, {"b": None})},
        error=ValueError("bad"),
        yes=True,
    )
    (line,) = lines(stream)
    assert {key: line[key] for key in list(line)[4:]} == {
        "id": "00000000-0000-0000-0000-000000000001",
        "nan": "nan",
        "huge": "<large number>",
        "data": "<5 bytes>",
        "secret_str": "**********",
        "broken": "<unprintable Broken>",
        "nested": {"a": [1, {"b": None}]},
        "error": "bad",
        "yes": True,
    }


def test_values_are_bounded(stream: StringIO) -> None:
    endless: list[Any] = []
    endless.append(endless)
    configure("info", "json", stream)
    log.info(
        "e" * 10**6, text="x" * 10**6, items=list(range(1000)), mapping=dict.fromkeys(range(1000)), endless=endless
    )
    (line,) = lines(stream)
    assert len(stream.getvalue()) < 10_000
    assert line["text"].endswith("…")
    assert line["items"][-1] == "… 950 more"
    assert line["mapping"]["…"] == "950 more"


@pytest.mark.parametrize("form", ["json", "console"])
@pytest.mark.parametrize(
    "text", ["\x1b[2J", "a\nlevel=error event=forged", "\r", "\x9b31m", "\u202egnp.exe", "\u2028", "\0", "\ud800"]
)
def test_control_characters_cannot_forge_or_paint(stream: StringIO, form: Any, text: str) -> None:
    configure("info", form, stream)
    log.info(f"event {text}", value=text, **{f"key{text}": 1}, nested={text: [text]})
    written = stream.getvalue()
    assert written.count("\n") == 1
    assert text not in written
    assert written.encode().decode().rstrip("\n").isprintable()


def test_an_exception_is_one_line_of_json(stream: StringIO) -> None:
    configure("info", "json", stream)
    try:
        try:
            raise ValueError("inner\nforged")
        except ValueError as error:
            raise RuntimeError("outer") from error
    except RuntimeError:
        log.exception("attempt.failed", job_id="0190")
    (line,) = lines(stream)
    assert [part["exc_type"] for part in line["exception"]] == ["RuntimeError", "ValueError"]
    assert line["exception"][1]["exc_value"] == "inner\\nforged"
    assert line["exception"][0]["frames"][0]["name"] == "test_an_exception_is_one_line_of_json"
    assert line["job_id"] == "0190"
    assert line["level"] == "error"


def test_an_exception_on_the_console_is_a_traceback_that_cannot_pass_for_a_line(stream: StringIO) -> None:
    configure("info", "console", stream)
    try:
        raise ValueError("bad \x1b[31m\n2026-01-01 [error] forged")
    except ValueError:
        log.exception("attempt.failed")
    head, *trace = stream.getvalue().splitlines()
    assert "attempt.failed" in head
    assert "    Traceback (most recent call last):" in trace
    assert all(line.startswith("    ") for line in trace)
    assert "\x1b" not in stream.getvalue()


@pytest.mark.parametrize(("terminal", "colors"), [(True, True), (False, False)])
def test_auto_is_console_on_a_terminal_and_json_otherwise(
    monkeypatch: pytest.MonkeyPatch, terminal: bool, colors: bool
) -> None:
    class Stream(StringIO):
        def isatty(self) -> bool:
            return terminal

    monkeypatch.delenv("NO_COLOR", raising=False)
    stream = Stream()
    configure("info", "auto", stream)
    log.info("hello")
    assert stream.getvalue().startswith("{") is not terminal
    assert ("\x1b" in stream.getvalue()) is colors


def test_lines_go_to_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    configure("info", "json")
    log.info("hello")
    captured = capsys.readouterr()
    assert captured.out == ""
    assert json.loads(captured.err)["event"] == "hello"


def test_a_stream_that_is_gone_does_no_harm(stream: StringIO) -> None:
    configure("info", "json", stream)
    stream.close()
    log.info("hello")


def test_threads_do_not_mix_their_lines() -> None:
    class Slow(StringIO):
        def write(self, text: str) -> int:
            time.sleep(0)
            return super().write(text)

    stream = Slow()
    configure("info", "json", stream)
    threads = [threading.Thread(target=lambda: [log.info("x" * 500) for _ in range(20)]) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(lines(stream)) == 160


@pytest.mark.parametrize("form", ["json", "console"])
def test_an_exception_that_nobody_caught_in_a_thread_becomes_a_line(stream: StringIO, form: Any) -> None:
    def fail() -> None:
        raise ValueError("lost")

    configure("info", form, stream)
    thread = threading.Thread(target=fail, name="poller")
    thread.start()
    thread.join()
    first = stream.getvalue().splitlines()[0]
    assert "uncaught exception" in first
    assert "poller" in first
    assert "lost" in stream.getvalue()


def test_a_warning_becomes_a_line(stream: StringIO) -> None:
    configure("info", "json", stream)
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.showwarning("old", DeprecationWarning, "x.py", 1)
    (line,) = lines(stream)
    assert line["logger"] == "py.warnings"
    assert "DeprecationWarning" in line["event"]
