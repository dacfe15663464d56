"""The settings: what is wrong with them, and what cannot be looked at because of that."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from generation_worker.config import ConfigurationError, Settings
from generation_worker.config.declarations import declarations
from generation_worker.doctor.check import Check, Verdicts
from generation_worker.domain.finding import Verdict, fault, ok
from generation_worker.registrations import REGISTRATIONS, configured_providers

CORRECT = "Correct it in the environment or in .env; .env.example says what each setting takes"
CONCERNS = {
    "Database": ("database", "fleet"),
    "Storage: S3": ("storage",),
    "Storage: Cloudflare R2": ("storage",),
    "Storage: local disk": ("storage", "machine.disk"),
    "Inputs by URL": ("machine.disk",),
    "Images": ("images",),
    "HTTP": ("machine.port",),
}
"""Group of settings → the areas and checks that cannot be trusted when one of them is wrong. A provider's group begins
with its name."""


def all_problems(settings: Settings, problems: Sequence[str]) -> list[str]:
    """``problems`` of the settings, and that there is no database if none is named."""
    found = list(problems)
    if not any(re.match(r"DATABASE_URL\b", problem) for problem in found):
        try:
            settings.require_database()
        except ConfigurationError as error:
            found += error.problems
    return found


def settings_check(settings: Settings, problems: Sequence[str]) -> Check:
    def look() -> Verdicts:
        faults = [fault(problem, CORRECT) for problem in problems]
        warnings = [Verdict("warning", notice) for notice in settings.notices]  # they say what to do themselves
        return [*faults, *warnings] or [ok(_told(settings))]

    return Check("settings", look)


def concerned(problems: Sequence[str]) -> set[str]:
    """The areas and checks whose settings are wrong."""
    return {name for problem in problems for group in _groups(problem) for name in _concerns(group)}


def _concerns(group: str) -> Sequence[str]:
    provider = group.split(maxsplit=1)[0].lower()
    of_provider = [f"providers.{each.name}" for each in REGISTRATIONS if each.name == provider]
    return of_provider or CONCERNS.get(group, ())


def _groups(problem: str) -> Iterator[str]:
    words = set(re.findall(r"[A-Z][A-Z0-9_]+", problem))
    for setting in declarations().values():
        if words & set(setting.names):
            yield setting.group


def _told(settings: Settings) -> str:
    providers = ", ".join(configured_providers(settings)) or "none"
    count = len(settings.origins)
    return f"{count} are set; providers: {providers}; storage: {settings.storage}"
