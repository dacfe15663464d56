"""One word per step: a file of the protocol, a method of the store and a line of its port have the same name."""

from __future__ import annotations

from pathlib import Path

import pytest

from generation_worker import ports
from generation_worker.db import protocol
from generation_worker.db.statements import statement_sources

PROTOCOL = Path(protocol.__file__).parent / "sql" / "protocol"
CHOSEN_BY_THE_STORE = {"claim_limited_jobs"}
"""`claim_jobs` runs this one for a worker whose keys have limits."""


def test_each_statement_has_its_method_and_each_method_its_statement() -> None:
    statements = {file.stem for file in PROTOCOL.glob("*.sql")} - CHOSEN_BY_THE_STORE
    assert statements == methods(protocol.PostgresStore) == methods(ports.Store)
    assert {file.suffix for file in PROTOCOL.iterdir()} == {".sql"}


@pytest.mark.parametrize("name", sorted(statement_sources()))
def test_each_statement_begins_with_what_it_does(name: str) -> None:
    assert statement_sources()[name].startswith("-- ")


def methods(kind: type) -> set[str]:
    return {name for name, value in vars(kind).items() if callable(value) and not name.startswith("_")}
