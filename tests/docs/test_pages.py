"""What is made from the code is as the code is now."""

from __future__ import annotations

import re

import pytest

from scripts.pages import PARTS, ROOT, with_part
from tests.db.test_state_chart import CHART
from tests.docs.documents import blocks

BEGINNING = {("[*]", "pending"), ("[*]", "scheduled")}
ENDS = {("completed", "[*]"), ("failed", "[*]"), ("cancelled", "[*]")}
MOVES = {pair for pair in CHART if pair[0] != pair[1]}


@pytest.mark.parametrize(("document", "name"), PARTS)
def test_a_made_part_is_up_to_date(document: str, name: str) -> None:
    text = (ROOT / document).read_text()
    assert with_part(text, name, PARTS[document, name]()) == text, "run: python scripts/pages.py"


@pytest.mark.parametrize("document", ["README.md", "docs/state-chart.md"])
def test_the_diagram_is_the_state_chart_that_the_database_keeps(document: str) -> None:
    [diagram] = [block.text for block in blocks(document) if block.language == "mermaid"]
    arrows = re.findall(r"(?m)^ +(\S+) --> (\w+|\[\*\])(?::|$)", diagram)
    assert len(arrows) == len(set(arrows))
    assert set(arrows) == MOVES | BEGINNING | ENDS


def test_the_table_is_the_state_chart_that_the_database_keeps() -> None:
    text = (ROOT / "docs" / "state-chart.md").read_text()
    rows = re.findall(r"(?m)^\| `(\w+)` \| `(\w+)` \| [^|]+ \| ([-+]?\d) \|", text)
    assert {(before, after): int(step) for before, after, step in rows} == {pair: CHART[pair] for pair in MOVES}


def test_the_changelog_begins_with_this_version() -> None:
    from generation_worker import __version__  # noqa: PLC0415 - beside what it is compared with

    text = (ROOT / "CHANGELOG.md").read_text()
    assert re.findall(r"(?m)^## \[(.+?)\]", text)[0] == __version__
    assert f'version = "{__version__}"' in (ROOT / "pyproject.toml").read_text()
    changes = re.findall(r"(?m)^- \*\*(.+?)\.\*\* ((?:.*\n)(?:  .*\n)*)", text)
    assert changes
    assert [name for name, what in changes if len(re.findall(r"\.(?:\s|$)", what)) > 2] == []
