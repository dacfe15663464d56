"""The settings as tables: for ``generation-worker config``, for the README and as ``.env.example``."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import groupby
from typing import Any

from pydantic_core import PydanticUndefined

from generation_worker.config.kinds import Setting, format_duration
from generation_worker.config.load import RETIRED
from generation_worker.config.settings import Settings, declarations, is_duration
from generation_worker.domain.fleet import FleetSetting, problem_with

_NOTHING = "–"


@dataclass(frozen=True, slots=True)
class DescribedSetting:
    """One setting as text. ``value`` of a secret is "set" or "not set"; "–" stands for no value."""

    group: str
    name: str
    value: str
    default: str
    source: str
    """database, if a setting of the fleet holds instead; or else default, environment, .env or option, with the alias
    if one was used."""
    help: str
    aliases: tuple[str, ...]
    secret: bool
    updated_by: str | None = None
    """Who set it for the whole fleet, and ``updated_at`` when; None if no setting of the fleet holds."""
    updated_at: datetime | None = None


def describe(settings: Settings, fleet: Iterable[FleetSetting] = ()) -> list[DescribedSetting]:
    """Every setting with its value and where that came from, secrets hidden. What ``fleet`` has set wins."""
    by_name = {each.name: each for each in fleet}
    return [
        _overridden(_row(settings, field, setting), field, setting, by_name)
        for field, setting in declarations().items()
    ]


def environment_table() -> str:
    """The settings in Markdown, a table for each group, then the variables that are no longer needed."""
    tables = [
        f"**{title}**\n\n" + _markdown(("Setting", "Aliases", "Default", "What it does"), map(_cells, settings))
        for title, settings in _groups()
    ]
    old = ((f"`{name}`", reason) for name, reason in RETIRED.items())
    return "\n\n".join([*tables, "**No longer needed**\n\n" + _markdown(("Variable", "Because"), old)]) + "\n"


def example_file() -> str:
    """What ``.env.example`` holds: every setting, commented out, with its default or an example."""
    head = "# Copy to .env and take the # away from what you set. What the environment sets wins over this file.\n"
    parts = [_example_group(title, settings) for title, settings in _groups()]
    return "\n".join([head, *parts])


def default_text(field: str) -> str:
    """The default as it is written in the environment, or in words where it depends on something."""
    setting = declarations()[field]
    default = Settings.model_fields[field].default
    if setting.default is not None or default is PydanticUndefined:
        return setting.default or _NOTHING
    return _text(field, default)


def _row(settings: Settings, field: str, setting: Setting) -> DescribedSetting:
    value = getattr(settings, field)
    hidden = "set" if value else "not set"
    return DescribedSetting(
        group=setting.group,
        name=setting.name,
        value=hidden if setting.secret else _text(field, value),
        default=default_text(field).replace("`", ""),
        source=_source(settings, field, setting),
        help=setting.help.replace("`", ""),
        aliases=setting.aliases,
        secret=setting.secret,
    )


def _overridden(
    row: DescribedSetting, field: str, setting: Setting, fleet: Mapping[str, FleetSetting]
) -> DescribedSetting:
    """Workers ignore a value of the fleet that breaks a rule, and so does the table."""
    followed = fleet.get(setting.followed or "")
    if followed is None or problem_with(followed.name, followed.value):
        return row
    return replace(
        row,
        value=_text(field, followed.value),
        source=f"database, {followed.name}",
        updated_by=followed.updated_by,
        updated_at=followed.updated_at,
    )


def _source(settings: Settings, field: str, setting: Setting) -> str:
    origin = settings.origins.get(field)
    if origin is None:
        return "default"
    return origin.layer if origin.name == setting.name else f"{origin.layer}, alias {origin.name}"


def _text(field: str, value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if is_duration(field):
        in_milliseconds = declarations()[field].name.endswith("_MS")
        return f"{value * 1000:g}" if in_milliseconds else format_duration(value)
    return _NOTHING if value in (None, "", ()) else str(value)


def _groups() -> Iterable[tuple[str, list[tuple[str, Setting]]]]:
    for title, settings in groupby(declarations().items(), key=lambda item: item[1].group):
        yield title, list(settings)


def _cells(item: tuple[str, Setting]) -> tuple[str, ...]:
    field, setting = item
    default = default_text(field)
    plain = setting.default is None and default != _NOTHING
    aliases = ", ".join(f"`{alias}`" for alias in setting.aliases) or _NOTHING
    return (f"`{setting.name}`", aliases, f"`{default}`" if plain else default, setting.help)


def _markdown(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [head, ("---",) * len(head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def _example_group(title: str, settings: Iterable[tuple[str, Setting]]) -> str:
    return "\n".join([f"# --- {title} ---", "", *(_example(field, setting) for field, setting in settings)])


def _example(field: str, setting: Setting) -> str:
    default = default_text(field)
    value = setting.example or ("" if setting.default or default == _NOTHING else default)
    also = f" Also called {', '.join(setting.aliases)}." if setting.aliases else ""
    return f"# {setting.help.replace('`', '')}{also}\n#{setting.name}={value}\n"
