"""On a terminal one sees what `doctor` is checking, and colors; nowhere else."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys

import pytest

from tests.cli.conftest import ROOT, Command

ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\r")


def on_a_terminal(*arguments: str) -> str:
    """All that a terminal is told."""
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-m", "generation_worker", "doctor", *arguments],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env={**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "60", "TERM": "xterm-256color"},
    ) as process:
        os.close(theirs)
        said = bytearray()
        try:
            while piece := os.read(ours, 65_536):
                said += piece
        except OSError:
            pass  # the other end is gone
        os.close(ours)
    assert process.returncode == 0
    return said.decode()


@pytest.mark.usefixtures("settings")
def test_progress_and_colors(process: Command):
    said = on_a_terminal("--only", "images,machine.disk,providers.local")
    plain = ESCAPES.sub("", said)
    assert re.search(r"checking .*images\.children", plain)
    assert "\x1b[32mok" in said
    assert re.search(r"(?m)ok +images\.memory +\d+ process.* that there are +\(\d+ ms\)$", plain), "not wrapped"
    assert plain.rstrip().endswith("skipped.") or plain.rstrip().endswith("ok.")
    piped = process("doctor", "--only", "images").out
    assert "checking" not in piped
    assert "\x1b" not in piped


@pytest.mark.usefixtures("settings")
def test_json_is_the_same_document_with_progress_beside_it(process: Command):
    said = on_a_terminal("--json", "--only", "images")
    assert "checking" in said
    assert '"check": "images.children"' in said
    assert process("doctor", "--json", "--only", "images").err == ""
