"""Redacts secrets from text: registered values, and text that looks like a secret."""

import json
import re
from collections.abc import Iterable
from functools import lru_cache
from urllib.parse import quote, quote_plus

HIDDEN = "***"

SHORTEST = 4
"""Characters. Shorter values are not redacted, because they occur in ordinary words."""

_PASSWORD_IN_ADDRESS = re.compile(
    # Up to the last @, because a password may contain one; a port is not a password.
    r"(://[^\s:/?#@]{0,256}:)(?![0-9]{1,5}(?:[/?#\s]|$))[^\s]{1,512}@"
)
_BEARER = re.compile(r"(?i)\b(bearer\s+)[\w.~+/=-]{8,}")
_NAMED = re.compile(
    r"(?i)\b(authorization|x-goog-api-key|x-api-key|api[_-]?key|(?:ssl)?password|passwd|(?:set-)?cookie"
    r"|x-amz-(?:signature|security-token|credential)|aws_secret_access_key|secret)"
    r"(\\?[\"']?\s{0,3}[=:]\s{0,3}\\?)(?:(?:basic|bearer|token|digest)\s+)?"
    r"(?:b?\"(?:[^\"\\]|\\.)*\"?|b?'(?:[^'\\]|\\.)*'?|[^\s&,;\"'<>\\)}\]]+)"
)
_QUERY = re.compile(r"([?&](?:key|token|signature|sig)=)[^\s&\"'<>]+")
_ISSUED = re.compile(r"\bAIza[\w-]{20,}|\br8_\w{20,}|\bgw_live_\w{20,}|\bwhsec_[\w+/=-]{16,}")

_SECRET_KEY = re.compile(
    r"(?i)(?:proxy-)?authorization|(?:set-)?cookie|x-(?:goog-)?api-key|(?:.*[_-])?(?:api_?keys?|password|passwd|secret)"
    r"|x-amz-security-token|token|credentials|conninfo|dsn|(?:database|direct)_url"
)


def hide_secrets(values: Iterable[str]) -> None:
    """Redact ``values`` in every line from now on, however they are quoted. Adds to earlier calls."""
    known_secrets.add(values)


def redact(text: str) -> str:
    """``text`` without secrets; in doubt, text is redacted."""
    text = _ISSUED.sub(HIDDEN, known_secrets.hide(text))
    # Most texts contain neither sign, and searching for one costs a tenth of a pattern.
    if "=" in text or ":" in text:
        text = _PASSWORD_IN_ADDRESS.sub(rf"\1{HIDDEN}@", text)
        text = _NAMED.sub(rf"\1\2{HIDDEN}", text)
        text = _QUERY.sub(rf"\1{HIDDEN}", text)
    return _BEARER.sub(rf"\1{HIDDEN}", text) if " " in text else text


@lru_cache(maxsize=1024)
def is_secret_key(key: str) -> bool:
    """Whether the value of ``key``, such as a header, is secret whatever it looks like."""
    return _SECRET_KEY.fullmatch(key) is not None


def _spellings(value: str) -> set[str]:
    """``value`` as it is, URL-encoded, and escaped as in Python and in JSON."""
    spellings = {
        value,
        value.strip(),
        quote(value, safe=""),
        quote(value),
        quote_plus(value),
        repr(value)[1:-1],
        json.dumps(value)[1:-1],
        json.dumps(value, ensure_ascii=False)[1:-1],
    }
    return {spelling for spelling in spellings if len(spelling) >= SHORTEST}


class _KnownSecrets:
    """The registered values, as one pattern."""

    def __init__(self) -> None:
        self._values: set[str] = set()
        self._pattern: re.Pattern[str] | None = None

    def add(self, values: Iterable[str]) -> None:
        for value in values:
            self._values.update(_spellings(value))
        # The longest first: a secret may begin with another one.
        ordered = sorted(self._values, key=len, reverse=True)
        self._pattern = re.compile("|".join(map(re.escape, ordered))) if ordered else None

    def clear(self) -> None:
        self._values.clear()
        self._pattern = None

    def hide(self, text: str) -> str:
        pattern = self._pattern
        return text if pattern is None else pattern.sub(HIDDEN, text)


known_secrets = _KnownSecrets()
