"""What the documents tell people to type is typed here, from top to bottom, as they stand."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from psycopg import errors

from generation_worker.cli.app import LazyCommand, command_line
from tests.docs.documents import NOT_HERE, ROOT, Block, blocks, links, run
from tests.support.database import Connection, Database

DOCUMENTS = sorted(str(path.relative_to(ROOT)) for path in [*ROOT.glob("*.md"), *ROOT.glob("d*/*.md")])
LANGUAGES = ("", "sh", "sql", "ts", "tsx", "prisma", "python", "json", "mermaid", "yaml")
"""yaml has the rules of Prometheus, which tests/scraped tries out; tsx and prisma are tried by test_nextjs_page.py."""
ROLE = "web_app"
"""The role that the README makes."""
VALUES = {
    "user.id": "ada",
    "JSON.stringify(payload)": '{"prompt": "a violin"}',
    "order.key": "order-2000",
    "count": "2",
}
"""What a TypeScript app would put into its query."""


@pytest.fixture
def environment(database: Database, tmp_path: Path) -> dict[str, str]:
    return {
        "DATABASE_URL": database.direct_conninfo,
        "STORAGE_DIR": str(tmp_path / "storage"),
        "FETCH_CACHE_DIR": str(tmp_path),
        "PORT": "0",
    }


@pytest.fixture
def role(database: Database) -> Iterator[str]:
    """A name of our own for it: a role belongs to the whole server, which may have one of that name already."""
    name = f"{ROLE}_{uuid4().hex[:8]}"
    yield name
    connection = database.connect_direct()
    if connection.execute("SELECT FROM pg_roles WHERE rolname = %s", (name,)).fetchone() is not None:
        connection.execute(f"DROP OWNED BY {name}".encode())
        connection.execute(f"DROP ROLE {name}".encode())


def test_the_readme_from_top_to_bottom(
    database: Database, environment: dict[str, str], tmp_path: Path, role: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    connection = database.connect_direct(options="")
    monkeypatch.setenv("DATABASE_URL", database.direct_conninfo)
    for n, block in enumerate(blocks("README.md")):
        if block.language == "sh" and block.first_line not in NOT_HERE:
            run(block, environment, tmp_path)
        elif block.language == "sql":
            connection.execute(block.text.replace(ROLE, role).encode())
        elif block.language == "ts" and "SELECT" in block.text:
            query_from_typescript(connection, block, n)
        elif block.language == "python":
            exec(compile(block.text, block.place, "exec"), {})
    jobs = connection.execute("SELECT status, count(*) FROM generation.generation_job GROUP BY status").fetchall()
    assert jobs == [("completed", 6)]
    balance = connection.execute("SELECT balance FROM generation.credit_account WHERE user_id = 'ada'").fetchone()
    assert balance == (94,)
    check_the_result(connection, tmp_path)
    check_the_role(connection, role)


def test_the_page_on_operating_from_top_to_bottom(
    database: Database, environment: dict[str, str], tmp_path: Path, shop: str
) -> None:
    connection = database.connect_direct(options="")
    connection.execute("SELECT generation.offer_providers(array['local'])")
    for block in blocks("docs/operating.md"):
        if block.language == "sh" and block.first_line not in NOT_HERE:
            run(replace(block, text=block.text.replace("shop_", shop)), environment, tmp_path)
        elif block.language == "sql":
            assert connection.execute(block.text.encode()).fetchall() == [], f"a false alarm: {block.place}"


def query_from_typescript(connection: Connection, block: Block, number: int) -> None:
    """Prepare the query with text parameters, as Prisma sends them, and run it."""
    query = re.search(r"`(\s*SELECT.*?)`", block.text, re.DOTALL)
    assert query is not None
    names = re.findall(r"\$\{(.*?)\}", query[1])
    text = re.sub(r"\$\{(.*?)\}", lambda found: f"${names.index(found[1]) + 1}", query[1])
    kinds = ", ".join(["text"] * len(names))
    connection.execute(f"PREPARE from_typescript_{number} ({kinds}) AS {text}".encode())
    values = [f"{VALUES[name]}-{number}" if name == "order.key" else VALUES[name] for name in names]
    literals = ", ".join("'" + value + "'" for value in values)
    rows = connection.execute(f"EXECUTE from_typescript_{number} ({literals})".encode()).fetchall()
    assert [row[1] for row in rows] == ["pending"] * len(rows)
    assert rows


def check_the_result(connection: Connection, directory: Path) -> None:
    """The example names what a result has, and the image is where it says."""
    [example] = [json.loads(block.text) for block in blocks("README.md") if block.language == "json"]
    row = connection.execute("SELECT result FROM generation.generation_job ORDER BY created_at LIMIT 1").fetchone()
    assert row is not None
    result = row[0]
    assert result.keys() == example.keys()
    [image], [shown] = result["images"], example["images"]
    assert image.keys() == shown.keys()
    assert {name: image[name] for name in ("content_type", "width", "height")} == {
        name: shown[name] for name in ("content_type", "width", "height")
    }
    assert result["model"] == example["model"]
    assert (directory / "storage" / image["key"]).stat().st_size == image["bytes"]


def check_the_role(connection: Connection, role: str) -> None:
    """It can do what the README says and nothing else."""
    connection.execute(f"SET ROLE {role}".encode())
    [(job_id,)] = connection.execute(
        "SELECT id FROM generation.enqueue_generation('text_to_image', 'ada', '{\"prompt\": \"a tram\"}')"
    ).fetchall()
    for query in (
        "SELECT status FROM generation.cancel_generation(%s)",
        "SELECT status FROM generation.generation_job WHERE id = %s",
    ):
        assert connection.execute(query, (job_id,)).fetchone() == ("cancelled",)
    for statement in (
        "UPDATE generation.generation_job SET priority = 1",
        "UPDATE generation.credit_account SET balance = 1000",
        "INSERT INTO generation.credit_entry SELECT * FROM generation.credit_entry",
        "SELECT generation.adjust_credits('ada', 1000)",
        "SELECT generation.offer_providers(array['other'])",
    ):
        with pytest.raises(errors.InsufficientPrivilege):
            connection.execute(statement.encode())
    connection.execute("RESET ROLE")


@pytest.mark.parametrize("document", DOCUMENTS)
def test_links_lead_somewhere(document: str) -> None:
    assert [target for target in links(document) if not (ROOT / document).parent.joinpath(target).exists()] == []


@pytest.mark.parametrize("block", [b for name in DOCUMENTS for b in blocks(name)], ids=lambda block: block.place)
def test_every_command_exists(block: Block) -> None:
    assert block.language in LANGUAGES, "a language that nothing tries out"
    if block.language != "sh":
        return
    for words in block.commands:
        if words[0] == "make":
            assert re.search(rf"(?m)^{words[1]}:", (ROOT / "Makefile").read_text())
        elif words[0] == "generation-worker":
            find_command(words[1:])
        else:
            assert words[0] == "psql" or block.first_line in NOT_HERE


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_command_in_the_text_exists(document: str) -> None:
    text = re.sub(r"(?m)^```(?:.*\n)*?```$", "", (ROOT / document).read_text())
    for command in re.findall(r"`generation-worker ([a-z][^`]*)`", text):
        find_command(command.split())
    for target in re.findall(r"`make ([a-z0-9-]+)`", text):
        assert re.search(rf"(?m)^(?:.* )?{target}(?: .*)?:", (ROOT / "Makefile").read_text()), target


def test_ci_runs_the_two_commands() -> None:
    assert {"make demo", "make test"} <= set(re.findall(r"(?m)^step (.+)$", (ROOT / ".ci" / "run").read_text()))


def find_command(words: list[str]) -> None:
    """The command that `words` name, with options that it has."""
    command: Any = command_line()
    while hasattr(command, "commands") and words and words[0] in command.commands:
        command = command.commands[words[0]]
        command = command.load() if isinstance(command, LazyCommand) else command
        words = words[1:]
    known = {option for parameter in command.params for option in parameter.opts}
    assert not hasattr(command, "commands") or getattr(command, "invoke_without_command", False), words
    assert {word for word in words if word.startswith("--")} <= known
