"""Settings that are wrong keep only that from being looked at which they concern."""

from __future__ import annotations

import pytest

from generation_worker.config import examine_settings
from generation_worker.config.settings import declarations
from generation_worker.doctor.check import CONCERNS, all_problems, concerned
from generation_worker.doctor.run import AREAS, Ended, Examination, run

WRONG = "its settings are wrong, see settings"


def statuses(environ: dict[str, str], *only: str) -> dict[str, tuple[str, str]]:
    """What is said, without running what asks somebody."""
    settings, problems = examine_settings(environ)
    examination = Examination(settings, problems, limit=1.0)
    quick = [[check for check in checks if check.needs == ()] for checks in examination.areas(only)]
    found = [event for event in run(quick, limit=20.0) if isinstance(event, Ended)]
    examination.close()
    return {event.check: (finding.status, finding.detail) for event in found for finding in event.findings}


@pytest.mark.parametrize(
    ("problem", "concerns"),
    [
        ("DATABASE_URL is not set: give the address", {"database", "fleet"}),
        ("GEMINI_MODEL_NAME must be a model's name", {"providers.gemini"}),
        ("REPLICATE_MODEL must be a model", {"providers.replicate"}),
        ("R2_BUCKET, R2_ACCOUNT_ID missing: other settings of R2 are set", {"storage"}),
        ("IMAGE_MEMORY_MB (64) is too little for IMAGE_MAX_PIXELS (50000000)", {"images"}),
        ("PORT must be a whole number", {"machine.port"}),
        ("WORKER_CONCURRENCY must be a whole number", set[str]()),
        (".env cannot be read", set[str]()),
    ],
)
def test_what_a_problem_concerns(problem: str, concerns: set[str]) -> None:
    assert concerned([problem]) == concerns


def test_the_groups_are_those_that_there_are() -> None:
    assert set(CONCERNS) <= {setting.group for setting in declarations().values()}
    assert {name.split(".")[0] for names in CONCERNS.values() for name in names} <= set(AREAS)


def test_no_database_is_one_problem() -> None:
    settings, problems = examine_settings({})
    assert [problem.split()[0] for problem in all_problems(settings, problems)] == ["DATABASE_URL"]
    settings, problems = examine_settings({"DATABASE_URL": "nonsense"})
    assert len(all_problems(settings, problems)) == 1


def test_what_is_wrong_is_skipped_and_nothing_else() -> None:
    found = statuses({"PORT": "many", "IMAGE_CHILDREN": "0", "DATABASE_URL": "x"}, "images", "machine", "fleet")
    assert found["settings"][0] == "fault"
    assert found["images"] == ("skipped", WRONG)
    assert found["fleet"] == ("skipped", WRONG)
    assert found["machine.port"] == ("skipped", WRONG)
    assert found["machine.disk"][0] in ("ok", "warning", "fault")


def test_settings_that_do_not_concern_what_was_chosen_are_not_told() -> None:
    assert list(statuses({"PORT": "many"}, "machine.disk")) == ["machine.disk"]
    assert "settings" in statuses({"PORT": "many"}, "machine")


def test_a_provider_that_is_wrong_does_not_hide_the_others() -> None:
    environ = {"GEMINI_API_KEY": "k", "GEMINI_BASE_URL": "nonsense", "LOCAL_FAULTS": "nonsense"}
    found = statuses(environ, "providers")
    assert found["providers.gemini"] == ("skipped", WRONG)
    assert found["providers.replicate"] == ("skipped", "REPLICATE_API_TOKEN is not set")
    assert found["providers.local"][0] == "fault"
    assert found["providers.local"][1].startswith("LOCAL_FAULTS: ")


def test_a_name_that_there_is_not() -> None:
    settings, problems = examine_settings({})
    with pytest.raises(ValueError, match="there is no check 'storge'; there are settings, database, storage"):
        Examination(settings, problems, limit=1.0).areas(["storge"])
