"""Does what a line with curl says, as far as the documents use it, on machines that have none."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from pathlib import Path

import httpx


def curl(line: str, values: Mapping[str, str], directory: Path) -> httpx.Response:
    """``values`` stand for the variables of the shell. Raises ValueError for an option that is not known here."""
    program, *words = _words(line, values)
    if program != "curl":
        raise ValueError(f"{program} is not curl")
    method, url, headers, body = "GET", "", dict[str, str](), b""
    rest = iter(words)
    for word in rest:
        match word:
            case "-X":
                method = next(rest)
            case "-H":
                name, _, value = next(rest).partition(": ")
                headers[name] = value
            case "-d":
                body = next(rest).encode()
            case "--data-binary":
                body = (directory / next(rest).removeprefix("@")).read_bytes()
            case _ if not word.startswith("-"):
                url = word
            case _:
                raise ValueError(f"{word} is not known here")
    return httpx.request(method, url, headers=headers, content=body, timeout=60, trust_env=False)


def _words(line: str, values: Mapping[str, str]) -> list[str]:
    """As a shell takes the line apart, which expands nothing within single quotes. An unknown variable is an error.

    The shell is given stand-ins: what it says is looked through for secrets like any output.
    """
    each = f"set -u; for word in {line}; do printf '%s\\0' \"$word\"; done"
    stand_ins = {name: f"<{name}>" for name in values}
    found = subprocess.run(["/bin/sh", "-c", each], env=stand_ins, capture_output=True, text=True, check=True).stdout
    for name, stand_in in stand_ins.items():
        found = found.replace(stand_in, values[name])
    return found.split("\0")[:-1]
