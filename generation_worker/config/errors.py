"""The one error that configuration raises."""

from __future__ import annotations

from collections.abc import Sequence


class ConfigurationError(Exception):
    """The configuration cannot be used.

    ``problems`` has one line for each fault: the variable's name, what is wrong with it and
    the remedy, never the value of a secret.
    """

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems: list[str] = list(problems)
        super().__init__("\n".join(self.problems))
