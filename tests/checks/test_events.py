"""Whoever reads a log line about a job can go on to its trace."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

PACKAGE = Path(__file__).parents[2] / "generation_worker"


def test_each_event_about_a_job_names_its_trace() -> None:
    named = {place: names for place, names in _emitted() if "job" in names}
    assert named, "no event about a job was found"
    assert [place for place, names in named.items() if not names & {"trace", "trace_id"}] == []


def _emitted() -> Iterator[tuple[str, set[str]]]:
    """Where something is emitted with which fields by name; ``**job.tags`` has both."""
    for file in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "emit":
                yield f"{file.relative_to(PACKAGE)}:{node.lineno}", {each.arg for each in node.keywords if each.arg}
