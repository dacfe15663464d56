"""Generates the parts of the documents that come from the code: `python scripts/pages.py`."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from generation_worker.config import environment_table

ROOT = Path(__file__).resolve().parents[1]
HEAD = re.compile(r"-- (?P<effect>READS ONLY|CHANGES ROWS|CHANGES ROLES)\n(?P<what>(?:--.*\n)*?--.*?\.)(?=\s)")
"""The beginning of each file in sql/: its effect, then at least one sentence."""


def settings() -> str:
    return environment_table()


def sql_files() -> str:
    """A table row for each file in sql/ that operators run."""
    rows = [_row(file) for file in sorted((ROOT / "sql").glob("*.sql")) if file.name != "schema.sql"]
    return "\n".join(["| file | | what for |", "|---|---|---|", *rows]) + "\n"


def _row(file: Path) -> str:
    found = HEAD.match(file.read_text())
    if found is None:
        raise ValueError(f"{file.name}: does not begin with READS ONLY, CHANGES ROWS or CHANGES ROLES and a sentence")
    what = " ".join(found["what"].replace("--", "").split())
    return f"| [`sql/{file.name}`](../sql/{file.name}) | {found['effect'].lower()} | {what} |"


PARTS: dict[tuple[str, str], Callable[[], str]] = {
    ("README.md", "settings"): settings,
    ("docs/operating.md", "sql files"): sql_files,
}
"""Document and marker → the text between its marks."""


def with_part(text: str, name: str, part: str) -> str:
    """`text` with `part` between the marks called `name`. Raises ValueError if a mark is missing."""
    begin, end = f"<!-- {name} -->\n", f"<!-- /{name} -->"
    before, found, rest = text.partition(begin)
    _, also_found, after = rest.partition(end)
    if not (found and also_found):
        raise ValueError(f"the document has no marks {begin.strip()} … {end}: add them")
    return f"{before}{begin}\n{part}\n{end}{after}"


def main() -> None:
    for (document, name), make in PARTS.items():
        path = ROOT / document
        path.write_text(with_part(path.read_text(), name, make()))


if __name__ == "__main__":
    main()
