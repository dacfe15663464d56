"""Makes any value fit for a line: no secrets, no control characters, no more than a bounded length."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence, Set
from functools import lru_cache
from typing import Any, cast

from generation_worker.log.redaction import HIDDEN, redact, tells_a_secret

TEXT_LIMIT = 2_000
"""Longest text of one value, in characters."""
TRACEBACK_LIMIT = 20_000
"""Longest traceback, in characters."""
KEY_LIMIT = 200
"""Longest name of a value, in characters."""
ITEMS_LIMIT = 50
"""Most items of one list or mapping."""
DEPTH_LIMIT = 8
"""Deepest nesting of lists and mappings."""

# C0 and C1 controls, line and paragraph separators, what turns the direction of text, lone surrogates.
_UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]")
_UNSAFE_IN_LINES = re.compile(_UNSAFE.pattern.replace("\x00-\x1f", "\x00-\x09\x0b-\x1f"))


def clean_text(text: str, limit: int = TEXT_LIMIT) -> str:
    """``text`` on one line."""
    return _UNSAFE.sub(_escape, _clip(_hide(text, limit), limit))


def clean_lines(text: str, limit: int = TRACEBACK_LIMIT) -> str:
    """``text`` with its line breaks, each line indented, so that none can pass for a line of the log."""
    safe = _UNSAFE_IN_LINES.sub(_escape, _clip(_hide(text.replace("\t", "    "), limit), limit))
    return "\n".join(f"    {line}" for line in safe.split("\n"))


def clean_value(value: Any, depth: int = DEPTH_LIMIT) -> Any:
    """``value`` as JSON knows it; what JSON does not know becomes text. Never raises."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return clean_text(str(value))
    if isinstance(value, (int, float)):
        return _clean_number(value)
    if isinstance(value, (bytes, bytearray, memoryview)):
        return f"<{len(cast(bytes, value))} bytes>"
    if isinstance(value, (Mapping, Sequence, Set)):
        return _clean_collection(cast(Any, value), depth - 1)
    return clean_text(_text_of(value))


@lru_cache(maxsize=1024)
def clean_key(key: str) -> str:
    """``key`` as a name in a line; the same few keys come with every event."""
    return clean_text(key, KEY_LIMIT)


def clean_entry(key: str, value: Any, depth: int = DEPTH_LIMIT) -> Any:
    """``value`` of a mapping, hidden altogether if its key says that it is secret."""
    return HIDDEN if value and tells_a_secret(key) else clean_value(value, depth)


def _clean_number(value: float) -> Any:
    if isinstance(value, int):
        return int(value) if abs(value) < 2**63 else "<large number>"
    return float(value) if math.isfinite(value) else str(float(value))


def _clean_collection(value: Mapping[Any, Any] | Sequence[Any] | Set[Any], depth: int) -> Any:
    if depth <= 0:
        return "…"
    try:
        if isinstance(value, Mapping):
            return _clean_mapping(value, depth)
        return [clean_value(item, depth) for item in _first(value)] + _rest(value)
    except Exception:  # noqa: BLE001 - a strange collection must not cost the line, nor the job that wrote it
        return _unprintable(value)


def _clean_mapping(value: Mapping[Any, Any], depth: int) -> dict[str, Any]:
    cleaned: dict[str, Any] = {}
    for key in _first(value):
        name = clean_text(_text_of(key), KEY_LIMIT)
        cleaned[name] = clean_entry(name, value[key], depth)
    return cleaned | ({"…": f"{len(value) - ITEMS_LIMIT} more"} if len(value) > ITEMS_LIMIT else {})


def _first(items: Any) -> list[Any]:
    return [item for item, _ in zip(items, range(ITEMS_LIMIT), strict=False)]


def _rest(items: Any) -> list[str]:
    return [f"… {len(items) - ITEMS_LIMIT} more"] if len(items) > ITEMS_LIMIT else []


def _text_of(value: object) -> str:
    try:
        return str(value)
    except Exception:  # noqa: BLE001 - as above
        return _unprintable(value)


def _unprintable(value: object) -> str:
    return f"<unprintable {type(value).__name__}>"


def _hide(text: str, limit: int) -> str:
    """Secrets are hidden before the text is cut, so that no cut leaves half of one."""
    return redact(text[: 2 * limit + 2_000])


def _clip(text: str, limit: int) -> str:
    return text if len(text) <= limit else f"{text[: limit - 1]}…"


def _escape(match: re.Match[str]) -> str:
    return match.group().encode("unicode_escape").decode()
