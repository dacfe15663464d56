"""What can be paused: everything, one provider, one kind or one user."""

from __future__ import annotations

from typing import Literal, NamedTuple

PREFIX = "paused"

What = Literal["everything", "provider", "kind", "user"]


class Extent(NamedTuple):
    """``name`` is empty for everything."""

    what: What = "everything"
    name: str = ""

    @property
    def setting(self) -> str:
        """The name under which the pause is kept."""
        return f"{PREFIX}.{self.what}.{self.name}" if self.name else PREFIX

    def __str__(self) -> str:
        return f"{self.what} {self.name}" if self.name else self.what


EVERYTHING = Extent()


def extent_of(setting: str) -> Extent:
    """The extent whose ``setting`` this is. Raises ValueError."""
    head, _, rest = setting.partition(".")
    what, _, name = rest.partition(".")
    if head != PREFIX:
        raise ValueError(f"{setting!r} is not a pause")
    match what:
        case "":
            return EVERYTHING
        case "provider" | "kind" | "user" if name:
            return Extent(what, name)
        case _:
            raise ValueError(f"{setting!r} is not a pause")
