"""Does what a line with curl says, as far as the documents use it, on machines that have none."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from string import Template

import httpx


def curl(line: str, values: Mapping[str, str], directory: Path) -> httpx.Response:
    """``values`` stand for the variables of the shell. Raises ValueError for an option that is not known here."""
    program, *words = (Template(word).substitute(values) for word in shlex.split(line))
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
