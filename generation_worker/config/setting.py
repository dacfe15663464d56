"""How one setting is declared: its variable, the other names it goes by, and a line of help."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from annotated_types import Interval
from pydantic import Field

Group = str


@dataclass(frozen=True, slots=True)
class Setting:
    """The declaration of one setting, part of its field's annotation."""

    group: Group
    name: str
    aliases: tuple[str, ...]
    help: str
    secret: bool = False
    default: str | None = None
    """The default in words, where it is not a plain value."""
    example: str | None = None
    """What ``.env.example`` shows, where the default would not help."""
    followed: str | None = None
    """The fleet's setting that holds instead, if there is one."""

    @property
    def names(self) -> tuple[str, ...]:
        return (self.name, *self.aliases)


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a value came from: ``layer`` is environment, .env or option; ``name`` is the variable as it was set."""

    layer: str
    name: str


def declare(
    name: str,
    *aliases: str,
    group: Group,
    help: str,  # noqa: A002 - the word that typer and argparse use
    secret: bool = False,
    default: str | None = None,
    example: str | None = None,
    followed: str | None = None,
) -> Setting:
    return Setting(group, name, aliases, help, secret, default, example, followed)


def group(title: Group) -> partial[Setting]:
    """``declare`` for the settings under ``title``."""
    return partial(declare, group=title)


def between(lowest: float, highest: float) -> Interval:
    """The range of a number, both ends included; seconds for a duration."""
    return Interval(ge=lowest, le=highest)


def derived(field: str, derive: Callable[[Any], Any] = lambda value: value) -> Any:
    """A default that follows another field, which must be declared before."""
    return Field(default_factory=lambda fields: derive(fields[field]))
