"""Placeholders in prompts: ``{{name}}`` is replaced by the input of that name."""

from __future__ import annotations

import re
from collections.abc import Mapping

PLACEHOLDER = re.compile(r"\{\{\s*([A-Za-z_][A-Za-z0-9_]*)\s*\}\}")


def placeholders(prompt: str) -> list[str]:
    """The names in ``prompt``, each once, in order of appearance."""
    return list(dict.fromkeys(PLACEHOLDER.findall(prompt)))


def fill(prompt: str, inputs: Mapping[str, str]) -> str:
    """``prompt`` with each placeholder replaced once; what an input contains is never expanded again.

    Raises KeyError, naming the placeholder, if it has no input.
    """
    return PLACEHOLDER.sub(lambda match: inputs[match.group(1)], prompt)
