"""Any process that collects the tests gives them the same names in the same order: pytest-xdist asks for that.

What is compared is what this run has collected, so the whole suite is looked at where the whole suite runs.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

COLLECT = """
import datetime, sys, pytest, time_machine
time_machine.travel(datetime.timedelta(days=500, hours=7, minutes=13, seconds=17)).start()
sys.exit(pytest.main(sys.argv[1:]))
"""
"""Another year, month, day and hour, not only another second."""
# Without rewritten assertions, which are most of the time that collecting takes.
QUIETLY = ("--collect-only", "-q", "--assert=plain", "-p", "no:cacheprovider")
ANOTHER_ORDER = ("failedfirst", "newfirst")
"""Options with which this run does not keep the order in which it has collected."""


def collect(arguments: list[str], directory: Path, scratch: Path) -> list[str]:
    """The names that a process gives which shares with this one neither clock, hashes, id nor temporary directory."""
    ours = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    seed = "2" if os.environ.get("PYTHONHASHSEED") == "1" else "1"
    said = scratch / "said"  # a file, as the look-out for secrets reads what comes through a pipe, and names hold some
    with said.open("w") as file:
        done = subprocess.run(
            [sys.executable, "-c", COLLECT, *QUIETLY, *arguments],
            check=False,
            stdout=file,
            stderr=subprocess.STDOUT,
            cwd=directory,
            env={**ours, "PYTHONHASHSEED": seed, "TMPDIR": str(scratch)},
        )
    assert done.returncode == 0, said.read_text()
    return said.read_text().partition("\n\n")[0].splitlines()


def test_another_process_finds_the_same_tests(request: pytest.FixtureRequest, tmp_path: Path) -> None:
    here = [item.nodeid for item in request.session.items]
    there = collect(request.config.args, request.config.invocation_params.dir, tmp_path)
    assert sorted(set(here) - set(there)) == [], "names that another process does not give"
    if not any(request.config.getoption(option, default=False) for option in ANOTHER_ORDER):
        chosen = set(here)
        assert [name for name in there if name in chosen] == here


def test_no_test_takes_its_values_from_a_set(request: pytest.FixtureRequest) -> None:
    """Two values of a set stand in the same order half of the time, in another process too."""
    marks = ((item.nodeid, mark) for item in request.session.items for mark in item.iter_markers("parametrize"))
    assert [name for name, mark in marks if isinstance(mark.args[1], set | frozenset)] == []
