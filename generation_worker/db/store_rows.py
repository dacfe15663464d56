"""How the worker's values become rows for its statements, and the rows of their answers its values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from generation_worker.db.running import Row
from generation_worker.domain.control import concurrency_problem, poll_problem
from generation_worker.domain.job import Job, Place
from generation_worker.domain.pause import PREFIX, extent_of
from generation_worker.domain.settlement import Settlement
from generation_worker.ports import Claim, DisabledEndpoint, FleetNews, FleetPause, Key, Refusal


def lane_columns(marks: Mapping[str, Place]) -> dict[str, Any]:
    priorities, positions, ids = zip(*marks.values(), strict=True)
    return {"providers": list(marks), "priorities": list(priorities), "positions": list(positions), "ids": list(ids)}


def claim_of(rows: list[Row]) -> Claim:
    outside = [row for row in rows if row[-1] in ("outside", "broken")]
    return Claim(
        jobs=[job_of(row) for row in rows if row[-1] == "started"],
        refused=[Refusal(row[0], row[2], *row[17:19]) for row in rows if row[-1] == "refused"],
        room_in=min((row[11] for row in outside), default=None),
        broken=any(row[-1] == "broken" for row in outside),
    )


def job_of(row: Row) -> Job:
    """The first nineteen columns of a claim or a reclaim."""
    return Job._make((*row[:14], Place(row[14], row[15], row[0]), *row[16:19], None))


def news_of(version: str, settings: Mapping[str, Mapping[str, Any]], webhooks: Mapping[str, Any]) -> FleetNews:
    """A value that somebody has written past the checks is as if it were not there: no worker may break over it."""
    values = {name: setting["value"] for name, setting in settings.items()}
    concurrency, poll_interval = values.get("concurrency"), values.get("poll_interval")
    return FleetNews(
        version,
        concurrency=None if concurrency_problem(concurrency) else concurrency,
        poll_interval=None if poll_problem(poll_interval) else poll_interval,
        pauses=tuple(_pause(name, each) for name, each in sorted(settings.items()) if name.startswith(PREFIX)),
        woken=settings["woken"]["since"] if "woken" in settings else None,
        webhooks=tuple(webhooks["events"]),
        disabled=tuple(DisabledEndpoint(**each) for each in webhooks["disabled"]),
    )


def _pause(name: str, setting: Mapping[str, Any]) -> FleetPause:
    value = setting["value"]
    reason = value.get("reason") if isinstance(value, dict) else None  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
    return FleetPause(str(extent_of(name)), setting["since"], setting["by"], reason)  # pyright: ignore[reportUnknownArgumentType]


def key_columns(keys: Sequence[Key]) -> dict[str, list[Any]]:
    labels, providers, limits = zip(*keys, strict=True) if keys else ((), (), ())
    return {"keys": list(labels), "key_providers": list(providers), "limits": list(limits)}


def settlement_row(job: Job, settlement: Settlement) -> dict[str, Any]:
    """What the statement reads; names that are left out are null."""
    row: dict[str, Any] = {
        "id": job.id,
        "token": job.lease_token,
        "outcome": settlement.outcome,
        "status": settlement.status,
        "cancel_status": settlement.cancel_status,
        "attempt_step": settlement.attempt_step,
        "crash_step": settlement.crash_step,
        "wait_step": settlement.wait_step,
        "allowance": settlement.allowance,
    }
    if settlement.result is not None:
        row["result"] = settlement.result
    else:
        row |= {
            "delay": settlement.delay,
            "error_code": settlement.error_code,
            "error_message": settlement.error_message,
        }
    return row
