import re
from pathlib import Path

import pytest

from generation_worker.config import Settings, describe, environment_table, example_file, load_settings
from generation_worker.config.load import RETIRED
from generation_worker.config.settings import declarations, expectation
from generation_worker.config.table import default_text

REPOSITORY = Path(__file__).parents[2]
FIELDS = {setting.name: field for field, setting in declarations().items()}


def test_every_field_is_declared_once() -> None:
    names = [name for setting in declarations().values() for name in setting.names]
    assert len(names) == len(set(names))
    assert Settings.model_fields.keys() - declarations().keys() == {"origins", "notices"}
    assert all(setting.help.endswith(".") for setting in declarations().values())


def test_groups_stand_together() -> None:
    groups = [setting.group for setting in declarations().values()]
    changes = [group for group, before in zip(groups, [None, *groups], strict=False) if group != before]
    assert len(changes) == len(set(changes))


@pytest.mark.parametrize("name", FIELDS)
def test_a_default_is_what_the_table_says(name: str) -> None:
    field = FIELDS[name]
    setting = declarations()[field]
    if setting.default is None and default_text(field) != "–":
        assert getattr(load_settings({name: default_text(field)}), field) == getattr(load_settings({}), field)


@pytest.mark.parametrize("name", FIELDS)
def test_an_example_is_a_value_that_is_accepted(name: str) -> None:
    example = declarations()[FIELDS[name]].example
    alone = name in ("S3_BUCKET", "S3_ENDPOINT_URL", "R2_BUCKET", "R2_PUBLIC_URL", "REPLICATE_WEBHOOK_URL")
    if example is not None and not alone:
        load_settings({name: example})


def test_the_example_file_is_up_to_date() -> None:
    """To bring it up to date, write ``example_file()`` to it."""
    text = (REPOSITORY / ".env.example").read_text()
    assert text == example_file()
    assert re.findall(r"(?m)^#?([A-Z][A-Z0-9_]+)=", text) == list(FIELDS)
    for alias in (alias for setting in declarations().values() for alias in setting.aliases):
        assert alias in text


def test_the_readme_table_names_everything() -> None:
    table = environment_table()
    rows = re.findall(r"(?m)^\| `([A-Z0-9_]+)` \|", table)
    assert rows == [*FIELDS, *RETIRED]
    assert "| `WORKER_CONCURRENCY` | `WORKER_MAX_WORKERS` | `5` | Jobs that one worker does at once. |" in table
    assert "| `GEMINI_RPM` | – | `MAX_JOBS_PER_MINUTE` |" in table


def test_rows_say_value_and_source() -> None:
    environ = {"WORKER_MAX_WORKERS": "7", "GEMINI_API_KEY": "key-a", "WORKER_POLL_INTERVAL": "2s", "HEALTH_HOST": "::1"}
    rows = {row.name: row for row in describe(load_settings(environ, port=0))}
    assert list(rows) == list(FIELDS)
    shown = {name: (row.value, row.source) for name, row in rows.items() if row.source != "default"}
    assert shown == {
        "WORKER_CONCURRENCY": ("7", "environment, alias WORKER_MAX_WORKERS"),
        "POLL_INTERVAL_MS": ("2000", "environment, alias WORKER_POLL_INTERVAL"),
        "GEMINI_API_KEY": ("set", "environment"),
        "HEALTH_HOST": ("::1", "environment"),
        "PORT": ("0", "option"),
    }
    assert rows["REPLICATE_API_TOKEN"].value == "not set"
    assert rows["WORKER_JOB_TIMEOUT"].value == rows["WORKER_JOB_TIMEOUT"].default == "10m"
    assert rows["S3_BUCKET"].value == "–"


@pytest.mark.parametrize("field", [field for field, info in Settings.model_fields.items() if info.annotation is int])
def test_every_number_has_a_range(field: str) -> None:
    assert "from" in (expectation(field) or "")
