"""Looks for secrets in whatever the project says or keeps, and remembers where it has found one.

What may be found where is one list: RULES. What is looked at is gathered by channels.py and tables.py.
"""

from __future__ import annotations

import base64
import re
from collections import Counter
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

from tests.canaries.values import MARK, PUBLIC_MARK, WISH

Channel = Literal["log", "output", "http", "metrics", "table"]
ALL: frozenset[Channel] = frozenset({"log", "output", "http", "metrics", "table"})
AROUND = 60
"""Characters shown before and after what was found."""


def encoded(mark: str) -> tuple[str, ...]:
    """`mark` as it stands, in base64 wherever it begins there, and in hexadecimal digits."""
    spellings = [mark, mark.encode().hex()]
    for before in range(3):
        text = base64.b64encode(b"\0" * before + mark.encode()).decode()
        # Without the digits that its neighbours have a part in.
        spellings.append(text[(before * 8 + 5) // 6 : (before + len(mark)) * 8 // 6])
    return tuple(spellings)


@dataclass(frozen=True)
class Rule:
    """What must not be found: one of `words`, and if `rest` is given only where it follows. Words are quick to find."""

    name: str
    words: tuple[str, ...]
    where: frozenset[Channel] = ALL
    rest: str = ""

    def find(self, text: str) -> Iterator[tuple[int, int]]:
        """Where it stands."""
        for word in self.words:
            if word in text:
                yield from (found.span() for found in re.finditer(re.escape(word) + self.rest, text))


RULES = [
    Rule("a secret", encoded(MARK)),
    Rule("a key of the API", ("gw_live_",), rest="[0-9a-z]{12}_[0-9a-f]{64}"),
    Rule("a webhook's secret", ("whsec_",), rest="[A-Za-z0-9+/]{24}"),
    # Links are made to be given away over HTTP, and hold the id of the key that has signed them.
    Rule("a signed link", ("X-Amz-Signature=",), ALL - {"http"}, rest="[0-9a-f]{16}"),
    Rule("the id of a key", encoded(PUBLIC_MARK), ALL - {"http"}),
    # Whoever may see a job may see what it asks for: over HTTP and by `job show`.
    Rule("a prompt", (WISH,), frozenset({"log", "metrics", "table"})),
    Rule("the bytes of an image", ("iVBORw0KGgo", "/9j/4AAQSkZJRg", "89504e470d0a1a0a", "x89PNG")),
    Rule("the bytes of an image", ("UklGR",), rest="[A-Za-z0-9+/]{6}XRUJQ"),
]


@dataclass(frozen=True)
class Finding:
    rule: str
    channel: Channel
    place: str
    around: str

    def __str__(self) -> str:
        return f"{self.rule} in {self.channel}, {self.place}: …{self.around}…"


class Scanner:
    """Of one process of the tests."""

    def __init__(self) -> None:
        self._rules = list(RULES)
        self._findings: list[Finding] = []
        self._allowed: frozenset[str] = frozenset()
        self.looked: Counter[Channel] = Counter()
        """At how many texts it has looked."""

    def add_secret(self, value: str) -> None:
        """One that nobody knew beforehand, such as the password of a server that has just been made."""
        self._rules.append(Rule("a password", (value,)))

    def words(self, channel: Channel) -> list[str]:
        """Without one of these a text is not worth a look there."""
        return [word for rule in self._rules if channel in rule.where for word in rule.words]

    def look(self, channel: Channel, place: str, text: str | bytes) -> None:
        """Remember what `text` holds of what it must not hold."""
        said = text.decode("utf-8", "replace") if isinstance(text, bytes) else text
        self.looked[channel] += 1
        for rule in self._rules:
            if channel in rule.where and rule.name not in self._allowed:
                for start, end in rule.find(said):
                    around = said[max(0, start - AROUND) : end + AROUND]
                    self._findings.append(Finding(rule.name, channel, place, around))

    def take(self) -> list[Finding]:
        """What was found since the last time."""
        found, self._findings = self._findings, []
        return found

    @contextmanager
    def allowing(self, *rules: str) -> Generator[None]:
        """Within the block these may be found: it shows somebody what is theirs, this one time."""
        before, self._allowed = self._allowed, self._allowed | set(rules)
        try:
            yield
        finally:
            self._allowed = before


scanner = Scanner()
"""The one that is armed."""
