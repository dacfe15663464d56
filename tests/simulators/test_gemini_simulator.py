"""The simulator itself: what it counts, what it refuses, and that it runs by itself."""

from __future__ import annotations

import base64
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.simulators.arrivals import Arrivals
from tests.simulators.gemini import KEY, WORDS, GeminiSimulator
from tests.simulators.gemini_bodies import MODEL
from tests.simulators.pictures import picture
from tests.simulators.replicate_hooks import MANNERS
from tests.simulators.server import SimulatorServer

PATH = f"/v1beta/models/{MODEL}:generateContent"


@pytest.fixture
def simulator() -> GeminiSimulator:
    return GeminiSimulator()


@pytest.fixture
def client(simulator: GeminiSimulator) -> Iterator[httpx.Client]:
    with SimulatorServer([simulator]) as server, httpx.Client(base_url=server.url, trust_env=False) as client:
        yield client


def ask(client: httpx.Client, prompt: str, key: str = KEY) -> httpx.Response:
    body = {"contents": [{"parts": [{"text": prompt}]}]}
    return client.post(PATH, json=body, headers={"x-goog-api-key": key})


def test_it_answers_with_a_picture(client: httpx.Client) -> None:
    part = ask(client, "a fox").json()["candidates"][0]["content"]["parts"][0]
    assert base64.b64decode(part["inlineData"]["data"]) == picture("a fox")


def test_a_limit_is_counted_for_each_key(client: httpx.Client, simulator: GeminiSimulator) -> None:
    simulator.limit = 2
    assert [ask(client, "a fox").status_code for _ in range(3)] == [200, 200, 429]
    assert ask(client, "a fox", key="another").status_code == 200
    delay = re.search(r'"retryDelay": "([0-9.]+)s"', ask(client, "a fox").text)
    assert delay is not None
    assert 50 < float(delay[1]) <= 60
    assert simulator.arrivals[KEY].busiest_window() == 4


def test_a_limit_looks_back_for_a_minute() -> None:
    now = 0.0
    arrivals = Arrivals(lambda: now)
    assert arrivals.admit(1) is None
    now = 45.0
    assert arrivals.admit(1) == 15.0
    now = 60.0
    assert arrivals.admit(1) is None
    assert arrivals.busiest_window() == 3
    assert arrivals.busiest_window(10.0) == 1


@pytest.mark.parametrize(("word", "status"), [("limited=3", 429), ("refused", 403), ("html", 502), ("nonsense", 200)])
def test_a_word_of_the_prompt_brings_trouble(client: httpx.Client, word: str, status: int) -> None:
    assert ask(client, f"a fox, sim:{word}").status_code == status


def test_other_paths_are_nobodys(client: httpx.Client) -> None:
    assert client.get("/v1beta/models").status_code == 404


def test_it_runs_on_its_own_and_says_how_to_use_it() -> None:
    command = [sys.executable, "-m", "tests.simulators", "--port", "0", "--limit", "1"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2]) as process:
        assert process.stdout is not None
        told = ""
        while any(word not in told for word in [*WORDS, *MANNERS]):
            told += process.stdout.readline()
        exported = dict(re.findall(r"export (\w+)=(\S+)", told))
        with httpx.Client(base_url=exported["GEMINI_BASE_URL"], trust_env=False) as client:
            statuses = [ask(client, "a fox", exported["GEMINI_API_KEY"]).status_code for _ in range(2)]
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
    assert statuses == [200, 429]
    assert exported["GEMINI_MODEL"] == MODEL
