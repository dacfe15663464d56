"""JSON that may be of any form, as rows hold it that anybody may have written."""

from __future__ import annotations

from typing import Any, cast


def fields(value: Any) -> dict[str, Any]:
    """``value`` if it is an object; else one without fields."""
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}


def items(value: Any) -> list[Any]:
    """``value`` if it is a list; else an empty one."""
    return cast("list[Any]", value) if isinstance(value, list) else []
