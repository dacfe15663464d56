"""Makes pages from templates. What users wrote is text wherever it stands, never markup."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import cache
from importlib.resources import files
from pathlib import Path
from time import monotonic
from typing import Any, Generic, TypeVar, cast
from urllib.parse import quote, unquote, urlencode

from fastapi import APIRouter, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, HTMLResponse, RedirectResponse
from jinja2 import Environment, PackageLoader, StrictUndefined
from pydantic import BaseModel, ValidationError, model_validator

from generation_worker import __version__
from generation_worker.db.query import Queries
from generation_worker.domain import estimate as spans
from generation_worker.web.auth import open_to_all
from generation_worker.web.problems import Problem
from generation_worker.web.requests import RequestModel

# Forms are held to the same rules as what is sent to the API: by the models of its routes.


M = TypeVar("M", bound=BaseModel)


def checked(model: type[M], values: Mapping[str, Any]) -> M:
    """What the API would have taken. Raises RequestValidationError, which becomes a page that names the field."""
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise RequestValidationError([{**fault, "loc": ("body", *fault["loc"])} for fault in error.errors()]) from None


def entered(text: str) -> Any:
    """What somebody means who enters this: numbers, true and false as in JSON, other words as they stand."""
    try:
        meant = json.loads(text)
    except ValueError:
        return text
    return text if meant is None else meant  # for the API nothing takes a setting back; here another button does


# Addresses within the dashboard.


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


# The style sheet, the scripts and the libraries of the dashboard, from this server alone.


TYPES = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
KEPT = "public, max-age=31536000, immutable"
"""The address has a part of what it holds: another content has another address."""
DIRECTORY = Path(str(files("generation_worker.web.pages") / "static"))


def assets_router() -> APIRouter:
    router = APIRouter(include_in_schema=False)

    @router.get(f"{STATIC}/{{digest}}/{{name:path}}")
    @open_to_all
    def dashboard_file(digest: str, name: str) -> Response:  # pyright: ignore[reportUnusedFunction]
        if _digests().get(name) != digest:
            raise Problem(404, "not_found", "There is nothing at this address.")
        path = DIRECTORY / name
        return FileResponse(path, media_type=TYPES[path.suffix], headers={"Cache-Control": KEPT})

    return router


def asset(name: str) -> str:
    """The address of a file of ``static/``."""
    return f"{STATIC}/{_digests()[name]}/{name}"


@cache
def _digests() -> dict[str, str]:
    found = (path for path in DIRECTORY.rglob("*") if path.suffix in TYPES)
    return {
        path.relative_to(DIRECTORY).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()[:12] for path in found
    }


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
        loader=PackageLoader("generation_worker.web.pages"),
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


T = TypeVar("T")


def _now() -> float:
    return monotonic()


class CachedQuery(Generic[T]):
    """The result of ``fetch``, for at most ``seconds``: a hundred open pages query the database no more than one."""

    def __init__(self, fetch: Callable[[Queries], T], *, seconds: float, clock: Callable[[], float] = _now) -> None:
        self.seconds = seconds
        self._fetch = fetch
        self._clock = clock
        self._lock = threading.Lock()
        self._cached: tuple[Queries, float, T] | None = None

    def __call__(self, queries: Queries, *, anew: bool = False) -> T:
        """``anew`` fetches in any case: for a visitor who has just made a change.

        A result for other ``queries`` is not used: it is of another application in this process. Raises what ``fetch``
        raises, and does not cache that.
        """
        with self._lock:
            if anew or self._cached is None or self._cached[0] is not queries or self._is_old(self._cached[1]):
                self._cached = (queries, self._clock(), self._fetch(queries))
            return self._cached[2]

    def _is_old(self, fetched_at: float) -> bool:
        return self._clock() - fetched_at >= self.seconds


# JSON that may be of any form, as rows hold it that anybody may have written.


def fields(value: Any) -> dict[str, Any]:
    """``value`` if it is an object; else one without fields."""
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}


def items(value: Any) -> list[Any]:
    """``value`` if it is a list; else an empty one."""
    return cast("list[Any]", value) if isinstance(value, list) else []


# What is chosen on a page by a form that is not filled in altogether.


class Choosing(RequestModel):
    """A browser sends every field of a form; those that were left empty choose nothing."""

    @model_validator(mode="before")
    @classmethod
    def _without_what_is_empty(cls, sent: Any) -> Any:
        return {name: value for name, value in fields(sent).items() if value != ""}
