"""What must not stand in any file that git knows."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

NOT_HERE = {
    "the path of a person's or a build machine's directory": re.compile(
        rb"(?<![\w.$}/-])/(?:(?:root|work|Users|home/[a-z]\w*)/[\w.]|opt/(?:wheels|pypi))"
    ),
    "the address of a package index": re.compile(
        rb"(?i)(?<!no-emit-)(?:--|PIP_|UV_)?(?:extra[-_])?index[-_]url|(?<!no-emit-)find[-_]links|pypi\.org/simple"
    ),
    "a secret": re.compile(
        rb"AKIA(?!IOSFODNN7EXAMPLE)[0-9A-Z]{16}|AIza[0-9A-Za-z_-]{35}|r8_(?!0123456789)[0-9A-Za-z]{37}"
        rb"|-----BEGIN [A-Z ]*PRIVATE KEY"
    ),
    "a merge that was not finished": re.compile(rb"(?m)^(?:<{7}|>{7}) "),
}
LARGE = 400_000
"""Bytes. Larger files do not belong in the history."""


def tracked() -> list[Path]:
    if not (ROOT / ".git").exists() or shutil.which("git") is None:
        pytest.skip("this is no checkout of git's")
    names = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout
    return [path for name in names.decode().split("\0") if name and (path := ROOT / name).is_file()]


@pytest.mark.parametrize("what", NOT_HERE)
def test_no_file_holds(what: str) -> None:
    found = {
        str(path.relative_to(ROOT)): match[0]
        for path in tracked()
        if path != Path(__file__) and (match := NOT_HERE[what].search(path.read_bytes()))
    }
    assert found == {}


def test_no_file_is_large() -> None:
    assert [path.name for path in tracked() if path.stat().st_size > LARGE] == []
