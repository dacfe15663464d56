"""What a job waits for, in sentences."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

from generation_worker.domain.estimate import Pace
from generation_worker.domain.job import NO_PROVIDER, WAITING
from generation_worker.domain.pause import extent_of
from generation_worker.domain.spans import span
from generation_worker.web.dashboard.links import HOME


class Reason(NamedTuple):
    """``link``: where somebody can do something about it."""

    text: str
    link: str | None = None


def reasons(job: Mapping[str, Any], pauses: Iterable[Any], gates: Sequence[Any], pace: Pace | None) -> list[Reason]:
    """Why it is not being worked on, beside those before it; ``gates`` are all there are."""
    if job["status"] not in WAITING:
        return []
    return [
        *_of_time(job),
        *_of_pauses(pauses),
        *_of_gates(job["provider"], gates),
        *_of_workers(job["provider"], pace),
    ]


def _of_time(job: Mapping[str, Any]) -> Iterator[Reason]:
    if job["status"] == "pending":
        return
    seconds = (job["run_at"] - datetime.now(UTC)).total_seconds()
    when = f"in {span(seconds)}" if seconds > 0 else "at any moment"
    if job["status"] == "rate_limited":
        yield Reason(f"Its provider has had enough for now; its turn comes {when}.")
    elif job["attempt"] or job["crashes"]:
        yield Reason(f"Its last attempt went wrong; the next one comes {when}.")
    else:
        yield Reason(f"It was asked for later; its time comes {when}.")


def _of_pauses(pauses: Iterable[Any]) -> Iterator[Reason]:
    for pause in pauses:
        what = str(extent_of(pause.name))
        by = f", by {pause.by}" if pause.by else ""
        why = f": {pause.reason}" if pause.reason else "."
        yield Reason(f"Paused: {what}{by}{why}", f"{HOME}/control")


def _of_gates(provider: str, gates: Sequence[Any]) -> Iterator[Reason]:
    own = [gate for gate in gates if gate.provider == provider]
    if own and all(gate.state != "ok" for gate in own):
        for gate in own:
            because = f" ({gate.reason})" if gate.reason else ""
            text = f"{provider}: nothing is asked with the key {gate.key_label} for {span(gate.seconds)}{because}."
            yield Reason(text, f"{HOME}/providers")


def _of_workers(provider: str, pace: Pace | None) -> Iterator[Reason]:
    if pace is not None and pace.slots == 0:
        what = "jobs without a provider" if provider == NO_PROVIDER else provider
        yield Reason(f"No living worker serves {what}.", f"{HOME}/workers")
