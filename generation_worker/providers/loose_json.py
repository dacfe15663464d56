"""Reading JSON of any shape: what is not there, or is something else, reads as empty."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, cast

Json = Mapping[str, Any]


def object_in(value: object) -> Json:
    """``value`` if it is an object, or an empty one."""
    return cast("Json", value) if isinstance(value, dict) else {}


def objects_in(value: object) -> Iterator[Json]:
    """The objects in ``value``, if it is a list."""
    for item in cast("list[object]", value) if isinstance(value, list) else []:
        if isinstance(item, dict):
            yield cast("Json", item)
