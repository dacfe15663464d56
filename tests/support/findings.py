"""What `doctor --json` says, by check."""

from __future__ import annotations

from typing import Any, NamedTuple

STATUSES = {"ok", "warning", "fault", "skipped"}


class Found(NamedTuple):
    status: str
    detail: str
    remedy: str


def by_check(answer: Any) -> dict[str, Found]:
    """The findings, each of which must be whole; of a check with several the worst."""
    assert isinstance(answer, list)
    worst: dict[str, Found] = {}
    for finding in answer:  # pyright: ignore[reportUnknownVariableType]
        assert list(finding) == ["check", "status", "detail", "remedy", "milliseconds"]  # pyright: ignore[reportUnknownArgumentType]
        assert finding["status"] in STATUSES
        assert finding["detail"]
        assert finding["milliseconds"] >= 0
        found = Found(finding["status"], finding["detail"], finding["remedy"] or "")  # pyright: ignore[reportUnknownArgumentType]
        assert found.remedy or found.status != "fault", "a fault without a remedy"
        before = worst.get(finding["check"])  # pyright: ignore[reportUnknownArgumentType]
        if before is None or _weight(found) > _weight(before):
            worst[finding["check"]] = found
    return worst


def _weight(found: Found) -> int:
    return ("skipped", "ok", "warning", "fault").index(found.status)
