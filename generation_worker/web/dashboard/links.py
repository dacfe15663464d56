"""Addresses within the dashboard."""

from __future__ import annotations

HOME = "/dashboard"
SIGN_IN = f"{HOME}/sign-in"
SIGN_OUT = f"{HOME}/sign-out"
STATIC = f"{HOME}/static"

PAGES = (("/dashboard", "Overview"),)
"""What can be chosen on every page, in this order."""


def way_back(asked: str | None, otherwise: str = HOME) -> str:
    """``asked`` if it is a page of ours: nobody is led elsewhere by a link to us."""
    if asked is None or not asked.isascii() or "\\" in asked or any(c.isspace() for c in asked):
        return otherwise
    path = asked.partition("?")[0].partition("#")[0]
    inside = path == HOME or path.startswith(f"{HOME}/")
    return asked if inside and "//" not in path and ".." not in path and path not in (SIGN_IN, SIGN_OUT) else otherwise
