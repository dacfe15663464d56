"""One word per step: a file of the protocol, a method of the store and a line of its port have the same name."""

from __future__ import annotations

from pathlib import Path

from generation_worker import ports
from generation_worker.db import protocol

PROTOCOL = Path(protocol.__file__).parent / "sql" / "protocol"
CHOSEN_BY_THE_STORE = {"claim_limited_jobs"}
"""`claim_jobs` runs this one for a worker whose keys have limits."""


def test_each_statement_has_its_method_and_each_method_its_statement() -> None:
    statements = {file.stem for file in PROTOCOL.glob("*.sql")} - CHOSEN_BY_THE_STORE
    assert statements == methods(protocol.PostgresStore) == methods(ports.Store)
    assert {file.suffix for file in PROTOCOL.iterdir()} == {".sql"}


def test_each_statement_of_the_protocol_says_what_it_does() -> None:
    assert [file.name for file in PROTOCOL.glob("*.sql") if not file.read_text().startswith("-- ")] == []


def methods(kind: type) -> set[str]:
    return {name for name, value in vars(kind).items() if callable(value) and not name.startswith("_")}
