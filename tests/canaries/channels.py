"""Where text leaves the project: each way is watched for as long as the tests run."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Awaitable, Callable, MutableMapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx
import pytest

from generation_worker.log.setup import LineWriter
from tests.canaries.scanner import scanner

Message = MutableMapping[str, Any]
Send = Callable[[Message], Awaitable[None]]
OURS = ("x-frame-options", "DENY")
"""A header that all our answers have, and no simulator's."""
A_LIBRARYS_FILES = "GET /docs/"
"""They come as they are, with pictures in them."""
OVERLAP = 300
"""Characters of a part of an answer that are looked at again with the next: a secret may be cut in two."""
NOT_OURS = ("psql", "pg_dump", "initdb", "postgres", "pg_ctl")
"""Programs that show what is asked of them. What tables hold is looked at by tables.py."""
SHOWS_ONCE = {
    ("token", "create"): "a key of the API",
    ("webhook", "add"): "a webhook's secret",
    ("webhook", "rotate"): "a webhook's secret",
}
"""Commands that give their user a secret of their own."""
ANSWERS_ONCE = re.compile(r"POST /(worker|dashboard)/webhooks(/[0-9a-f-]{36}/rotate)?")
"""Requests for a webhook's secret, which is in the answer and can never be shown again."""


def watch() -> None:
    """Watch log lines, what processes and commands say, and what our servers answer."""
    _watch_lines()
    _watch_processes()
    _watch_commands()
    _watch_clients()


def watch_servers() -> None:
    """Watch the servers of this process, once anybody has asked for one: their modules take a while to load."""
    module = sys.modules.get("generation_worker.web.app")
    if module is None or hasattr(module.WebServer, "is_watched"):
        return
    make = module.WebServer.__init__

    def watched(self: Any, app: Any, **options: Any) -> None:
        build = app.build_middleware_stack
        app.build_middleware_stack = lambda: watched_app(build())  # around all, also what answers a fault of ours
        make(self, app, **options)

    module.WebServer.__init__ = watched
    module.WebServer.is_watched = True


def look_at_sections(report: pytest.TestReport) -> None:
    """Look at what pytest has captured of a test."""
    for title, text in report.sections:
        scanner.look("output" if "stdout" in title else "log", title, text)


def watched_app(app: Any) -> Any:
    """An ASGI application that looks at its answers on their way out."""

    async def call(scope: Message, receive: Any, send: Send) -> None:
        place, tail = f"{scope.get('method')} {scope.get('path')}", ""

        async def look_and_send(message: Message) -> None:
            nonlocal tail
            if message["type"] == "http.response.start":
                look_at_answer(place, repr(message["headers"]))
            elif message["type"] == "http.response.body":
                text = tail + message.get("body", b"").decode("utf-8", "replace")
                look_at_answer(place, text)
                tail = text[-OVERLAP:] if message.get("more_body") else ""
            await send(message)

        await app(scope, receive, look_and_send)

    return call


def look_at_answer(place: str, text: str) -> None:
    """Look at headers or a body. ``place`` is the request's method and path."""
    if place.startswith(A_LIBRARYS_FILES):
        return
    with scanner.allowing(*(["a webhook's secret"] if ANSWERS_ONCE.fullmatch(place) else [])):
        scanner.look("metrics" if place.endswith(" /metrics") else "http", place, text)


def _watch_lines() -> None:
    write = LineWriter.write

    def watched(self: LineWriter, line: str) -> None:
        scanner.look("log", "a log line", line)
        write(self, line)

    LineWriter.write = watched


def _watch_processes() -> None:
    kind: Any = subprocess.Popen
    communicate = kind.communicate

    def watched(self: Any, *arguments: Any, **options: Any) -> Any:
        said = communicate(self, *arguments, **options)
        words = [self.args] if isinstance(self.args, str) else list(map(str, self.args))
        if Path(words[0]).name not in NOT_OURS:
            look_at_command(words, *(text for text in said if text))
        return said

    kind.communicate = watched


def _watch_commands() -> None:
    """What a command says within this process, where a test reads it."""
    kind: Any = pytest.CaptureFixture
    read = kind.readouterr

    def watched(self: Any) -> Any:
        captured = read(self)
        for text in captured:
            scanner.look("output", "captured output", text)
        return captured

    kind.readouterr = watched


def look_at_command(words: list[str], *texts: str | bytes) -> None:
    """Look at what a command line has said."""
    with scanner.allowing(*shown_by(words)):
        for text in texts:
            scanner.look("output", " ".join(words)[:200], text)


def shown_by(words: list[str]) -> list[str]:
    """The rules that do not hold for what this command says, or one in a shell's text."""
    said = " ".join(words).split()
    return [rule for command, rule in SHOWS_ONCE.items() if command in pairwise(said)]


def _watch_clients() -> None:
    send = httpx.Client.send

    def watched(self: httpx.Client, request: httpx.Request, **options: Any) -> httpx.Response:
        answer = send(self, request, **options)
        if answer.headers.get(OURS[0]) == OURS[1] and not options.get("stream"):
            look_at_answer(f"{request.method} {request.url.path}", f"{answer.headers!r} {answer.text}")
        return answer

    httpx.Client.send = watched
