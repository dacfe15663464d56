"""The settings that may change while the fleet runs: what holds, who says so, and what stands behind it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from generation_worker.domain.control import may_be_unset
from generation_worker.domain.pause import PREFIX
from generation_worker.web.config_routes import ConfigChange, FleetRow

OF_EACH_WORKER = {"concurrency": "WORKER_CONCURRENCY", "poll_interval": "POLL_INTERVAL_MS"}
"""Where nothing is set for the fleet, each worker does as it was started."""
ALWAYS = (
    "concurrency",
    "poll_interval",
    "seconds_per_credit",
    "credits_low",
    "caller_may_set_cost",
    "default_provider",
)
NOT_CHANGED_HERE = ("providers",)
"""Workers say what they offer."""

Describe = Callable[[Sequence[FleetRow]], Sequence[Any]]


class Setting(NamedTuple):
    name: str
    meaning: str
    value: str | None
    """None: nothing is set, and nothing stands behind it."""
    source: str
    by: str | None
    since: datetime | None
    may_be_unset: bool


def settings_of(fleet: Sequence[FleetRow], own: Iterable[Any]) -> list[Setting]:
    """``own`` are the settings of the process that answers, as ``describe`` has them."""
    by_name = {row.name: row for row in fleet if row.name.partition(".")[0] != PREFIX}
    started_with = {row.name: row for row in own}
    others = sorted(name for name in by_name if name not in (*ALWAYS, *NOT_CHANGED_HERE))
    return [_setting(name, by_name, started_with) for name in (*ALWAYS, *others)]


def _setting(name: str, fleet: Mapping[str, FleetRow], started_with: Mapping[str, Any]) -> Setting:
    meaning = _meaning(name)
    if found := fleet.get(name):
        unset = may_be_unset(name)
        return Setting(name, meaning, _text(found.value), "the fleet", found.updated_by, found.updated_at, unset)
    behind = started_with.get(OF_EACH_WORKER.get(name, ""))
    if behind is None:
        return Setting(name, meaning, None, "not set", None, None, False)
    source = f"{behind.name} of the process that answers ({behind.source}); each worker has its own"
    return Setting(name, meaning, _in_seconds(behind), source, None, None, False)


def _meaning(name: str) -> str:
    """As the API's document says it."""
    field = ConfigChange.model_fields.get(name.partition(".")[0])
    return ((field and field.description) or "").replace("`", "")


def _in_seconds(row: Any) -> str:
    """The environment has milliseconds where its names say so; the fleet's settings never have."""
    return f"{float(row.value) / 1000:g}" if row.name.endswith("_MS") else row.value


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
