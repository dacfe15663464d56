"""All that is known of each provider, put together from the answers to several questions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from generation_worker.domain.control import LIMIT
from generation_worker.domain.job import NO_PROVIDER
from generation_worker.domain.pause import Extent
from generation_worker.web.pause_answers import KnownPause


class Limit(NamedTuple):
    """Calls that a key may have in a minute, and who says so."""

    calls: int
    source: str
    setting: str | None
    """What has set it for the whole fleet; None: what the workers were started with holds."""
    by: str | None = None
    since: Any = None


class Key(NamedTuple):
    gate: Any
    limit: Limit
    calls: Sequence[Any]


class Provider(NamedTuple):
    name: str
    pause: KnownPause | None
    workers: int
    """Living ones that serve it."""
    lane: Any
    """What waits for it; None if nothing does."""
    keys: Sequence[Key]
    other_calls: Sequence[Any]
    """Calls of the last hour with keys that have no gate: without a limit, or that nobody holds any more."""
    setting: Any
    """The limit that the fleet has set for each of its keys; None if it has not."""

    @property
    def may_be_limited(self) -> bool:
        return bool(self.keys)


def providers_of(
    *,
    gates: Sequence[Any],
    calls: Sequence[Any],
    lanes: Iterable[Any],
    workers: Iterable[Any],
    pauses: Iterable[KnownPause],
    settings: Iterable[Any],
) -> list[Provider]:
    """By name. What each argument holds is the database's answer to the question of that name."""
    alive = [worker for worker in workers if worker.state != "silent"]
    by_name = {setting.name: setting for setting in settings}
    paused = {pause.name: pause for pause in pauses}
    waiting = {lane.provider: lane for lane in lanes}
    offered = {name for worker in alive for name in worker.providers}
    names = {*offered, *waiting, *(each.provider for each in (*gates, *calls))}
    return [
        Provider(
            name,
            paused.get(Extent("provider", name).setting),
            len(alive) if name == NO_PROVIDER else sum(name in worker.providers for worker in alive),
            waiting.get(name),
            [_key(gate, calls, by_name) for gate in gates if gate.provider == name],
            _without_gate(name, gates, calls),
            by_name.get(f"{LIMIT}.{name}"),
        )
        for name in sorted(names)
    ]


def limit_of(gate: Any, settings: Mapping[str, Any]) -> Limit:
    """A key's own setting goes before its provider's, and that before what workers were started with."""
    for name in (gate.key_label, gate.provider):
        if found := settings.get(f"{LIMIT}.{name}"):
            return Limit(gate.calls_per_minute, f"set for {name}", found.name, found.updated_by, found.updated_at)
    return Limit(gate.calls_per_minute, "as the workers were started", None)


def _key(gate: Any, calls: Iterable[Any], settings: Mapping[str, Any]) -> Key:
    return Key(gate, limit_of(gate, settings), [each for each in calls if each.key_label == gate.key_label])


def _without_gate(name: str, gates: Iterable[Any], calls: Iterable[Any]) -> list[Any]:
    known = {gate.key_label for gate in gates}
    return [each for each in calls if each.provider == name and each.key_label not in known]
