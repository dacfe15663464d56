"""The rules of the package's structure, and that breaking one of them is noticed."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from scripts import house
from scripts.house import Module, defined_twice, lonely_protocols, shapes


def module(text: str, path: str = "generation_worker/db/jobs.py") -> Module:
    return Module(path, text, ast.parse(text))


def test_the_package_follows_every_rule() -> None:
    assert house.violations() == []


def test_a_class_name_that_is_defined_twice_is_found() -> None:
    one, two = module("class Job: ..."), module("class Job: ...\nclass Other: ...", "generation_worker/web/jobs.py")
    assert defined_twice(shapes([one, two])) == [
        "class Job in generation_worker/db/jobs.py, generation_worker/web/jobs.py"
    ]


ONE_METHOD = "class Store(Protocol):\n    def save(self) -> None: ...\n"
DISK = "class Disk:\n    def save(self) -> None: ...\n"
S3 = "class S3(Disk):\n    def load(self) -> None: ...\n"


@pytest.mark.parametrize(
    ("package", "tests", "path", "lonely"),
    [
        (ONE_METHOD, "", "generation_worker/web/app.py", True),
        (ONE_METHOD + DISK, "", "generation_worker/web/app.py", True),
        (ONE_METHOD + DISK + S3, "", "generation_worker/web/app.py", False),
        (ONE_METHOD + DISK, DISK, "generation_worker/web/app.py", True),
        (ONE_METHOD + DISK, DISK, "generation_worker/ports/store.py", False),
    ],
    ids=["none", "one", "two, one inherits", "one and a test's", "one and a test's, in ports"],
)
def test_a_protocol_needs_a_second_implementation(package: str, tests: str, path: str, lonely: bool) -> None:
    found = lonely_protocols(shapes([module(package, path)]), shapes([module(tests, "tests/test_app.py")]))
    assert bool(found) == lonely


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT 1",
        "\n  -- name\n  SELECT id FROM job",
        "INSERT INTO job (id) VALUES (%s)",
        "UPDATE job SET status = 'failed'",
        "DELETE FROM job",
        "WITH due AS (SELECT 1) SELECT * FROM due",
        "SET LOCAL statement_timeout = 5",
        "LISTEN wake",
        "GRANT SELECT ON job TO app",
        "SET plan_cache_mode = force_custom_plan",
    ],
)
@pytest.mark.parametrize("kind", ["{!r}", "b{!r}", "f{!r}"])
def test_sql_in_python_is_found(statement: str, kind: str) -> None:
    assert len(list(module(f"query = {kind.format(statement)}").sql())) == 1


@pytest.mark.parametrize(
    "text",
    ["Select a job", "SELECTED", "Update it", "WITHOUT", "SET it instead", "DELETE /jobs/1", "LISTEN is accepted"],
)
def test_words_for_people_are_no_sql(text: str) -> None:
    assert list(module(f"help = {text!r}").sql()) == []


def test_doctor_may_advise_what_it_does_not_send() -> None:
    advice, sent = "remedy = 'GRANT USAGE ON SCHEMA s TO app'", "query = 'SELECT 1'"
    assert list(module(advice, "generation_worker/doctor/postgres.py").sql()) == []
    assert list(module(sent, "generation_worker/doctor/postgres.py").sql()) != []


def test_a_docstring_is_no_sql() -> None:
    assert list(module('def ask():\n    """SELECT 1 is sent."""').sql()) == []


def test_too_many_imports_are_a_violation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / house.PACKAGE
    package.mkdir()
    (package / "a.py").write_text("import os\n" + "x = 1\n" * 9)
    monkeypatch.setattr(house, "ROOT", tmp_path)
    assert house.violations() == ["imports are 10.0 % of the lines, more than 6.0 %"]
