"""One word per step: a file in queries/, a method of the store and a line of the port have the same name.

And no words twice: what several statements say is a part of its own.
"""

from __future__ import annotations

from pathlib import Path

from generation_worker import ports
from generation_worker.db import protocol as store

QUERIES = Path(store.__file__).parent / "queries"


def test_each_statement_has_its_method_and_each_method_its_statement() -> None:
    statements = {file.stem for file in QUERIES.glob("*.sql")}
    assert statements == methods(store.PostgresStore) == methods(ports.Store)
    assert {file.suffix for file in QUERIES.iterdir() if file.name != "parts"} == {".sql"}


def test_each_statement_says_what_it_is_for() -> None:
    assert [file.name for file in QUERIES.glob("*.sql") if not file.read_text().startswith("-- ")] == []


def test_a_part_is_what_several_statements_of_its_folder_say() -> None:
    parts = list(QUERIES.parent.glob("*/parts/*.sql"))
    assert [part.name for part in parts if not part.read_text().startswith("-- ")] == []
    assert [part.name for part in parts if len(users(part)) < 2] == []


def users(part: Path) -> list[Path]:
    return [file for file in part.parent.parent.glob("*.sql") if f"{{{part.stem}}}" in file.read_text()]


def methods(kind: type) -> set[str]:
    return {name for name, value in vars(kind).items() if callable(value) and not name.startswith("_")}
