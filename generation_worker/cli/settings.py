"""The settings of a command, and the secrets in them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from generation_worker.config import Settings
    from generation_worker.db.history import Author

secrets: list[str] = []
"""Every secret that a command has read, so that no message shows one."""


def load(**overrides: Any) -> Settings:
    """The settings of the environment; ``overrides`` are options that were given. Raises ConfigurationError."""
    from generation_worker.config import load_settings  # noqa: PLC0415 - takes longer than --help

    settings = load_settings(**overrides)
    secrets.extend(settings.secret_values())
    return settings


def actor() -> str:
    """Who uses the command line, for the record."""
    import getpass  # noqa: PLC0415 - rarely needed
    import socket  # noqa: PLC0415

    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container may run under a number that has no name
        user = "somebody"
    return f"cli:{user}@{socket.gethostname()}"


def author(reason: str | None) -> Author:
    """Who uses the command line, and why."""
    from generation_worker.db.history import Author  # noqa: PLC0415 - not for --help

    return Author(actor(), reason)
