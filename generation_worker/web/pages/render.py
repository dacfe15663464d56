"""Renders the dashboard's pages from templates: links within it, its static files, and helpers that pages share.

Templates escape every value: text of users is never markup.
"""

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
from generation_worker.web import auth, problems, requests

HOME = "/dashboard"
SIGN_IN = f"{HOME}/sign-in"
SIGN_OUT = f"{HOME}/sign-out"
STATIC = f"{HOME}/static"
JOBS = f"{HOME}/jobs"
FAILED = f"{HOME}/failed"
BATCHES = f"{HOME}/batches"
MANY = f"{HOME}/many"
USERS = f"{HOME}/users"

PAGES = (
    (HOME, "Overview"),
    (JOBS, "Jobs"),
    (FAILED, "Failed"),
    (USERS, "Users"),
    (f"{HOME}/providers", "Providers"),
    (f"{HOME}/workers", "Workers"),
    (f"{HOME}/webhooks", "Webhooks"),
    (f"{HOME}/keys", "Keys"),
    (f"{HOME}/control", "Control"),
    (f"{HOME}/audit", "Audit"),
)
"""The links at the top of every page, in this order."""

DIRECTORY = Path(str(files("generation_worker.web.pages") / "static"))
TYPES = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
CACHE_FOREVER = "public, max-age=31536000, immutable"
"""The address has a part of the content's hash: other content has another address."""

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "frame-ancestors 'none'; base-uri 'none'; form-action 'self'"
    ),
    "Referrer-Policy": "same-origin",  # with no-referrer, browsers would hide the origin of our own forms
}
FLASH = "generation-worker-flash"
FLASH_SECONDS = 60
NOTHING = "–"

M = TypeVar("M", bound=BaseModel)
T = TypeVar("T")


def render(request: Request, template: str, *, status: int = 200, **values: Any) -> HTMLResponse:
    """The page that a template makes of ``values``, with the visitor and the flash message, if there is one."""
    flash = request.cookies.get(FLASH)
    visitor = getattr(request.state, "visitor", None)
    text = (
        _templates()
        .get_template(template)
        .render(
            visitor=visitor,
            here=path_of(request),
            query=request.url.query,
            flash=flash and unquote(flash),
            **values,
        )
    )
    answer = HTMLResponse(text, status, HEADERS)
    if flash is not None and "hx-request" not in request.headers:
        answer.delete_cookie(FLASH, path=HOME)
    return answer


def go_back(requested: str | None, flash: str, *, otherwise: str = HOME) -> Response:
    """The response to a form: leads to the page ``requested``, which shows the message ``flash`` once."""
    answer = RedirectResponse(way_back(requested, otherwise), 303)
    answer.set_cookie(FLASH, quote(flash[:500]), max_age=FLASH_SECONDS, path=HOME, httponly=True, samesite="strict")
    return answer


def has_just_acted(request: Request) -> bool:
    """Whether this page follows a form: then it must show the result, so no cached data."""
    return FLASH in request.cookies


def way_back(requested: str | None, otherwise: str = HOME) -> str:
    """``requested`` if it is a page of ours: no link to us leads to another site."""
    if requested is None or not (requested.isascii() and requested.isprintable()) or any(c in requested for c in "\\ "):
        return otherwise
    path = requested.partition("?")[0].partition("#")[0]
    segments = [unquote(segment) for segment in path.split("/")]
    leads_out = not path.startswith(f"{HOME}/") or any(segment in ("", ".", "..") for segment in segments[2:])
    return otherwise if (path != HOME and leads_out) or path in (SIGN_IN, SIGN_OUT) else requested


def path_of(request: Request) -> str:
    """The path as it was sent: decoded, a slash within a name could not be told from a separator."""
    sent: bytes | None = request.scope.get("raw_path")
    return request.url.path if sent is None else sent.decode("latin-1")


def user_path(user: str) -> str:
    """The page of a user; their id may have any character."""
    return f"{USERS}/{quote(user, safe='')}"


def address(path: str, **query: Any) -> str:
    """``path`` with those parameters that are not None."""
    given = urlencode({name: value for name, value in query.items() if value is not None})
    return f"{path}?{given}" if given else path


router = APIRouter(include_in_schema=False)
"""The style sheet, the scripts and the libraries, which all come from this server."""


@router.get(f"{STATIC}/{{digest}}/{{name:path}}")
@auth.open_to_all
def send_static_file(digest: str, name: str) -> Response:
    if _digests().get(name) != digest:
        raise problems.Problem(404, "not_found", "There is nothing at this address.")
    path = DIRECTORY / name
    return FileResponse(path, media_type=TYPES[path.suffix], headers={"Cache-Control": CACHE_FOREVER})


def asset(name: str) -> str:
    """The address of a file of ``static/``."""
    return f"{STATIC}/{_digests()[name]}/{name}"


def _now() -> float:
    return monotonic()


class CachedQuery(Generic[T]):
    """The result of ``fetch``, for at most ``seconds``: a hundred open pages query the database no more than one.

    Pages that are opened while it is fetched wait for that result.
    """

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


class FilterForm(requests.RequestModel):
    """Filters of a page. A browser sends every field of a form; an empty one filters nothing."""

    @model_validator(mode="before")
    @classmethod
    def _without_empty_fields(cls, sent: Any) -> Any:
        return {name: value for name, value in fields(sent).items() if value != ""}


def checked(model: type[M], values: Mapping[str, Any]) -> M:
    """Values of a form, checked by the API's model. Raises RequestValidationError, which names the field."""
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise RequestValidationError([{**fault, "loc": ("body", *fault["loc"])} for fault in error.errors()]) from None


def entered(text: str) -> Any:
    """The value of a setting that was entered as text: numbers, true and false as in JSON, other words as text."""
    try:
        value = json.loads(text)
    except ValueError:
        return text
    return text if value is None else value  # null would unset the setting, for which there is another button


def fields(value: Any) -> dict[str, Any]:
    """JSON of any form: ``value`` if it is an object, else an empty one."""
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}


def items(value: Any) -> list[Any]:
    """JSON of any form: ``value`` if it is a list, else an empty one."""
    return cast("list[Any]", value) if isinstance(value, list) else []


@cache
def _digests() -> dict[str, str]:
    found = (path for path in DIRECTORY.rglob("*") if path.suffix in TYPES)
    return {
        path.relative_to(DIRECTORY).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()[:12] for path in found
    }


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
    """The end of an id: ids that were made at the same time have the same beginning."""
    return f"…{str(value)[-8:]}"


def _pretty(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, indent=2, default=str)
