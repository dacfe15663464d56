"""Makes pages from templates. What users wrote is text wherever it stands, never markup."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from functools import cache
from typing import Any
from urllib.parse import quote, unquote

from fastapi import Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse
from jinja2 import Environment, PackageLoader, StrictUndefined

from generation_worker import __version__
from generation_worker.domain import spans
from generation_worker.web.dashboard.assets import asset
from generation_worker.web.dashboard.links import HOME, PAGES, user_path, way_back

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "frame-ancestors 'none'; base-uri 'none'; form-action 'self'"
    ),
    "Referrer-Policy": "same-origin",  # without any, browsers would hide where our own forms come from
}
SAID = "generation-worker-said"
SAID_FOR = 60
NOTHING = "–"


def render(request: Request, template: str, *, status: int = 200, **values: Any) -> HTMLResponse:
    """The page for whoever visits; ``values`` are the names that the template uses."""
    said = request.cookies.get(SAID)
    visitor = getattr(request.state, "visitor", None)
    text = (
        _templates()
        .get_template(template)
        .render(visitor=visitor, here=path_of(request), query=request.url.query, said=said and unquote(said), **values)
    )
    answer = HTMLResponse(text, status, HEADERS)
    if said is not None and "hx-request" not in request.headers:
        answer.delete_cookie(SAID, path=HOME)
    return answer


def path_of(request: Request) -> str:
    """As it was sent: a name in it may hold whatever separates the parts of an address."""
    sent: bytes | None = request.scope.get("raw_path")
    return request.url.path if sent is None else sent.decode("latin-1")


def has_just_acted(request: Request) -> bool:
    """Whether this page follows a form: then it must show what became of it."""
    return SAID in request.cookies


def go_back(asked: str | None, said: str, *, otherwise: str = HOME) -> Response:
    """After a form: to the page that ``asked`` names, which says once what was done."""
    answer = RedirectResponse(way_back(asked, otherwise), 303)
    answer.set_cookie(SAID, quote(said[:500]), max_age=SAID_FOR, path=HOME, httponly=True, samesite="strict")
    return answer


@cache
def _templates() -> Environment:
    made = Environment(
        loader=PackageLoader("generation_worker.web.dashboard"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    known: dict[str, Any] = {"asset": asset, "version": __version__, "pages": PAGES, "user_path": user_path}
    made.globals.update(known)
    made.filters.update(
        span=_span, moment=_moment, ago=_ago, number=_number, short=_short, pretty=_pretty, share=_share
    )
    return made


def _span(seconds: float | None) -> str:
    return NOTHING if seconds is None else spans.span(seconds)


def _moment(at: datetime | None) -> str:
    return NOTHING if at is None else at.astimezone(UTC).isoformat(" ", "seconds").replace("+00:00", " UTC")


def _ago(at: datetime | None) -> str:
    if at is None:
        return NOTHING
    seconds = (datetime.now(UTC) - at).total_seconds()
    return f"{spans.span(seconds)} ago" if seconds >= 0 else f"in {spans.span(-seconds)}"


def _number(value: float | None, exact: bool = True) -> str:
    if value is None:
        return NOTHING
    return f"{'' if exact else 'about '}{value:,}"


def _share(value: float | None) -> str:
    return NOTHING if value is None else f"{100 * value:.1f} %"


def _short(value: object) -> str:
    """An id as far as people read it: its end, since those made together begin alike."""
    return f"…{str(value)[-8:]}"


def _pretty(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, indent=2, default=str)
