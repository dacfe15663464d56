"""Each provider's keys, and its model."""

from __future__ import annotations

from collections.abc import Callable

from generation_worker.config import ConfigurationError, Settings
from generation_worker.config.declarations import declarations
from generation_worker.doctor.check import Check, Verdicts, not_looked_at
from generation_worker.doctor.settings import CORRECT
from generation_worker.domain.finding import fault, skipped
from generation_worker.ports import Checkable, Provider
from generation_worker.registrations import REGISTRATIONS, Registration, build_adapters

Closing = Callable[[Callable[[], object]], object]
SHARE = 0.8
"""Of a check's time: an adapter that gives up by itself can say why."""


def provider_checks(settings: Settings, *, limit: float, closing: Closing) -> list[Check]:
    """``limit`` is how long a check may take, in seconds; ``closing`` is told what has to be called at the end."""
    return [
        _check(each, settings, limit, closing)
        if each.keys(settings)
        else not_looked_at(f"providers.{each.name}", _absence(each))
        for each in REGISTRATIONS
    ]


def _check(registration: Registration, settings: Settings, limit: float, closing: Closing) -> Check:
    built: list[Provider] = []
    wrong: list[str] = []

    def prepare() -> None:
        try:
            built.extend(build_adapters(registration, settings))
        except ConfigurationError as error:
            wrong.extend(error.problems)
        for adapter in built:
            if close := getattr(adapter, "close", None):
                closing(close)
            adapter.warm_up()

    def look() -> Verdicts:
        return [fault(problem, CORRECT) for problem in wrong] or [
            adapter.check(seconds=SHARE * limit) if isinstance(adapter, Checkable) else skipped("it has no check")
            for adapter in built
        ]

    return Check(f"providers.{registration.name}", look, prepare=prepare)


def _absence(registration: Registration) -> str:
    asks_for_a_key = any(each.secret for each in declarations().values() if each.name == registration.setting)
    return f"{registration.setting} is not set" if asks_for_a_key else "it is switched off"
