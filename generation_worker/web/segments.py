"""Paths in which a name may hold any character: an encoded slash belongs to its segment, and separates nothing.

A server hands on the path decoded, in which ``a%2Fb`` cannot be told from ``a/b``. To let a parameter run over slashes
would take the account of the user ``x/entries`` for the entries of ``x``. So the path is taken as it was sent.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import unquote

from fastapi.routing import APIRoute
from starlette.routing import Match
from starlette.types import Scope

from generation_worker.web.auth import GuardedRoute


class BySegments(APIRoute):
    """A route whose parameters are whole segments of the path, decoded."""

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        sent = scope.get("raw_path", b"").decode("latin-1")
        if scope["type"] != "http" or "%" not in sent:
            return super().matches(scope)
        match, found = super().matches({**scope, "path": "/".join(map(_plain, sent.split("/")))})
        if match is not Match.NONE:
            found["path_params"] = {name: _restored(value) for name, value in found["path_params"].items()}
        return match, found


class SegmentRoute(BySegments, GuardedRoute):
    """A guarded one."""


def _plain(segment: str) -> str:
    """Decoded, but for what separates. Bytes that are no UTF-8 become what no text may hold, and so are refused later:
    to replace them would name somebody else.
    """
    return unquote(segment, errors="surrogateescape").replace("%", "%25").replace("/", "%2F")


def _restored(value: Any) -> Any:
    return value.replace("%2F", "/").replace("%25", "%")
