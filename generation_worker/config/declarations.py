"""The declarations of the settings, read back from their fields."""

from __future__ import annotations

from functools import cache
from typing import Any, Literal, get_args, get_origin

from annotated_types import Interval
from pydantic.fields import FieldInfo

from generation_worker.config.durations import format_duration
from generation_worker.config.kinds import DURATION
from generation_worker.config.setting import Setting
from generation_worker.config.settings import Settings


@cache
def declarations() -> dict[str, Setting]:
    """Field → its declaration, in the order of the declarations."""
    found: dict[str, Setting] = {}
    for field, info in Settings.model_fields.items():
        setting = next((part for part in info.metadata if isinstance(part, Setting)), None)
        if setting is not None:
            found[field] = setting
    return found


def is_duration(field: str) -> bool:
    return DURATION in _info(field).metadata


def expectation(field: str) -> str | None:
    """What a value of ``field`` must be, after "must be"; None if its validator says it better."""
    kind = _info(field).annotation
    if kind is bool:
        return "true or false"
    if get_origin(kind) is Literal:
        *others, last = map(str, get_args(kind))
        return f"{', '.join(others)} or {last}"
    if is_duration(field):
        return f"a duration such as 500ms, 30s, 5m or 1h{_range(field, format_duration)}"
    if kind is int:
        return f"a whole number{_range(field, str)}"
    return f"a number{_range(field, '{:g}'.format)}" if kind is float else None


def _info(field: str) -> FieldInfo:
    return Settings.model_fields[field]


def _range(field: str, text: Any) -> str:
    limits = next((part for part in _info(field).metadata if isinstance(part, Interval)), None)
    return "" if limits is None else f", from {text(limits.ge)} to {text(limits.le)}"
