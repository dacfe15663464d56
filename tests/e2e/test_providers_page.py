"""docs/providers.md does what it says: its code is put where the page says, and a worker makes pictures with it."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import pytest

from generation_worker.db.ledger import find_violations
from tests.docs.documents import ROOT, blocks
from tests.e2e.conftest import StartWorker
from tests.simulators.server import SimulatorServer
from tests.support.database import Connection, Database, queries_on
from tests.support.jobs import enqueue, entries, grant, job
from tests.support.processes import clean_environment
from tests.support.waiting import wait_until

PAGE = "docs/providers.md"
PLACE = re.compile(r"# (?P<file>\S+\.py)(?:, (?P<where>.+))?\n")
AND = re.compile(r"(?m)^# and .+\n")
COPIED = (
    "generation_worker",
    "alembic",
    "tests/canaries/values.py",
    "tests/simulators",
    "tests/providers/gemini/helpers.py",
    "tests/providers/conftest.py",
    "tests/providers/helpers.py",
    "pyproject.toml",
)


class Anchors(NamedTuple):
    """The lines in front of which the two pieces of a block go, and what follows the second piece."""

    first: str
    second: str
    end: str


ANCHORS = {
    "generation_worker/config/settings.py": Anchors(
        'local = group("Local provider")\n', "    local_provider: bool = local(", "\n\n"
    ),
    "generation_worker/registrations.py": Anchors(
        '\nNO_KEY = SecretStr("")\n', '    Registration(\n        name="local",\n', ",\n"
    ),
}


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the project, as it is after somebody has done what the page says."""
    copy = tmp_path_factory.mktemp("checkout")
    for name in COPIED:
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, copy / name)
    for place, text in code():
        put(copy / place["file"], text, ANCHORS.get(place["file"]))
    return copy


def code() -> Iterator[tuple[re.Match[str], str]]:
    """Each block of code on the page: its place, and what stands there."""
    for block in blocks(PAGE):
        if block.language == "python":
            place = PLACE.match(block.text)
            assert place is not None, f"{block.place} does not say where it goes"
            yield place, block.text[place.end() :]


def put(file: Path, text: str, anchors: Anchors | None) -> None:
    """Make the file, or put the pieces of ``text`` into one that is there."""
    if anchors is None:
        assert not file.exists()
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        return
    first, second = AND.split(text)
    with_first = insert(file.read_text(), anchors.first, first.strip() + "\n")
    file.write_text(insert(with_first, anchors.second, textwrap.indent(second.rstrip(), "    ") + anchors.end))


def insert(text: str, anchor: str, piece: str) -> str:
    assert text.count(anchor) == 1, anchor
    return text.replace(anchor, piece + anchor)


@pytest.fixture
def acme() -> Iterator[Any]:
    """The simulator of the page, listening; ``environment`` is how a worker finds it."""
    [text] = [text for place, text in code() if place["file"] == "tests/simulators/acme.py"]
    module = ModuleType("acme")
    exec(compile(text, PAGE, "exec"), module.__dict__)
    simulator = module.AcmeSimulator()
    with SimulatorServer([simulator]) as server:
        simulator.environment = {**server.environment(), "NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"}
        yield simulator


@pytest.fixture
def environment(checkout: Path, acme: Any, database: Database, app: Connection) -> dict[str, str]:
    """The worker's settings, once the name is made known as the page says."""
    settings: dict[str, str] = {**acme.environment, "PYTHONPATH": str(checkout), "ACME_RPM": "100"}
    said = run(checkout, "-m", "generation_worker", "migrate", **database.environment, **settings)
    assert "Jobs may name: acme, local." in said
    grant(app)
    return settings


def run(checkout: Path, *command: str, **settings: str) -> str:
    done = subprocess.run(
        [sys.executable, *command],
        check=False,
        cwd=checkout,
        env=clean_environment(**settings),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def ask(app: Connection, prompt: str) -> Any:
    return enqueue(app, provider="acme", payload={"prompt": prompt})


def call(app: Connection) -> tuple[Any, ...]:
    [row] = app.execute("SELECT provider, key_label LIKE 'acme-%', spent, error_code FROM provider_call").fetchall()
    return row


def test_the_code_of_the_page_is_in_the_style_of_the_house(checkout: Path) -> None:
    ours = [place["file"] for place, _ in code()]
    for command in (("check",), ("format", "--check", "--diff")):
        run(checkout, "-m", "ruff", *command, "--no-cache", *ours)


def test_the_tests_of_the_page_pass(checkout: Path) -> None:
    test = "tests/providers/test_acme.py"
    said = run(checkout, "-m", "pytest", "-q", "-p", "no:cacheprovider", test, PYTHONPATH=str(checkout))
    assert "9 passed" in said


def test_its_settings_are_settings_like_all_others(checkout: Path) -> None:
    said = run(checkout, "-m", "generation_worker", "config", ACME_API_KEY="the-key-itself", ACME_RPM="7")
    assert re.search(r"ACME_RPM\W+7\b", said)
    assert "ACME_API_KEY" in said
    assert "the-key-itself" not in said


def test_a_worker_makes_its_pictures_within_its_limit(
    app: Connection, start_worker: StartWorker, environment: dict[str, str], storage: Path
) -> None:
    made = ask(app, "a kite")
    assert start_worker("--until-empty", **environment).exit_status() == 0
    row = job(app, made)
    assert (row["status"], row["provider"], row["result"]["model"]) == ("completed", "acme", "acme-image-1")
    assert (storage / row["result"]["images"][0]["key"]).is_file()
    assert call(app) == ("acme", True, True, None)
    assert app.execute("SELECT provider, calls_per_minute FROM provider_gate").fetchall() == [("acme", 100)]
    assert find_violations(queries_on(app), max_paid_calls=2) == []


def test_a_429_is_waited_for(
    app: Connection, start_worker: StartWorker, environment: dict[str, str], acme: Any
) -> None:
    waiting = ask(app, "sim:limited once")
    start_worker(**environment)
    wait_until(lambda: job(app, waiting)["status"] == "completed", "the picture is made")
    row = job(app, waiting)
    assert (row["attempt"], row["waits"], len(acme.prompts)) == (1, 1, 2)


def test_what_is_blocked_fails_and_is_refunded(
    app: Connection, start_worker: StartWorker, environment: dict[str, str], acme: Any
) -> None:
    blocked = ask(app, "sim:blocked")
    assert start_worker("--until-empty", **environment).exit_status() == 0
    assert (job(app, blocked)["error_code"], len(acme.prompts)) == ("content_blocked", 1)
    assert [kind for kind, *_ in entries(app)] == ["grant", "debit", "refund"]
    assert call(app)[2:] == (False, "content_blocked")


def test_a_refused_key_opens_its_breaker_and_is_told_to_nobody(
    app: Connection, start_worker: StartWorker, environment: dict[str, str], acme: Any
) -> None:
    refused = ask(app, "sim:refused")
    worker = start_worker(**environment)
    wait_until(lambda: job(app, refused)["status"] == "rate_limited", "the job waits")
    row = job(app, refused)
    assert (row["attempt"], row["error_code"]) == (0, "provider_refused")
    [(breaker, reason)] = app.execute("SELECT breaker, opened_for FROM provider_gate").fetchall()
    assert breaker == "open"
    assert "[secret] is not valid" in reason
    secret = acme.environment["ACME_API_KEY"]
    assert secret not in f"{row} {reason} {worker.said()}"


def test_silence_ends_in_time_and_may_have_been_paid(
    app: Connection, start_worker: StartWorker, environment: dict[str, str], acme: Any
) -> None:
    silent = ask(app, "sim:hang")
    limits = {"ACME_TIMEOUT": "1s", "WORKER_MAX_RETRIES": "0"}
    assert start_worker("--until-empty", **environment, **limits).exit_status() == 0
    assert (job(app, silent)["error_code"], len(acme.prompts)) == ("provider_timeout", 1)
    assert call(app)[2:] == (None, "provider_timeout")
    assert [kind for kind, *_ in entries(app)] == ["grant", "debit", "refund"]


def test_a_cancel_ends_a_call_that_hangs(
    app: Connection, start_worker: StartWorker, environment: dict[str, str], acme: Any
) -> None:
    hanging = ask(app, "sim:hang")
    start_worker(**environment, LEASE_DURATION="2s")
    wait_until(lambda: bool(acme.prompts), "the request is there")
    app.execute("SELECT cancel_generation(%s)", (hanging,))
    wait_until(lambda: job(app, hanging)["status"] == "cancelled", "the job is cancelled")
    assert find_violations(queries_on(app), max_paid_calls=2) == []
