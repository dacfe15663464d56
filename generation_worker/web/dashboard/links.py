"""Addresses within the dashboard."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote, unquote, urlencode

HOME = "/dashboard"
SIGN_IN = f"{HOME}/sign-in"
SIGN_OUT = f"{HOME}/sign-out"
STATIC = f"{HOME}/static"
JOBS = f"{HOME}/jobs"
FAILED = f"{HOME}/failed"
BATCHES = f"{HOME}/batches"
MANY = f"{HOME}/many"

PAGES = (
    ("/dashboard", "Overview"),
    (JOBS, "Jobs"),
    (FAILED, "Failed"),
    ("/dashboard/users", "Users"),
    ("/dashboard/providers", "Providers"),
    ("/dashboard/workers", "Workers"),
    ("/dashboard/webhooks", "Webhooks"),
    ("/dashboard/keys", "Keys"),
    ("/dashboard/control", "Control"),
    ("/dashboard/audit", "Audit"),
)
"""What can be chosen on every page, in this order."""


def user_path(user: str) -> str:
    """The page of a user, whatever their id holds."""
    return f"{HOME}/users/{quote(user, safe='')}"


def address(path: str, **query: Any) -> str:
    """``path`` with those parts of ``query`` that say something."""
    said = urlencode({name: value for name, value in query.items() if value is not None})
    return f"{path}?{said}" if said else path


def way_back(asked: str | None, otherwise: str = HOME) -> str:
    """``asked`` if it is a page of ours: nobody is led elsewhere by a link to us."""
    if asked is None or not (asked.isascii() and asked.isprintable()) or any(c in asked for c in "\\ "):
        return otherwise
    path = asked.partition("?")[0].partition("#")[0]
    segments = [unquote(segment) for segment in path.split("/")]
    leads_out = not path.startswith(f"{HOME}/") or any(segment in ("", ".", "..") for segment in segments[2:])
    return otherwise if (path != HOME and leads_out) or path in (SIGN_IN, SIGN_OUT) else asked
