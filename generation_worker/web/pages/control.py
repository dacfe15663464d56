"""Pauses and the settings of the whole fleet: their page, and the forms on any page that change them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any, NamedTuple

from fastapi import APIRouter, Form as FormBody, Request, Response
from pydantic import Field, model_validator

from generation_worker.db import audit_trail, fleet, query
from generation_worker.domain.fleet import PREFIX, What, may_be_unset
from generation_worker.domain.job import NO_PROVIDER
from generation_worker.domain.payload import KINDS
from generation_worker.web import app, auth, problems, requests
from generation_worker.web.api.control import ConfigChange, DescribePart, ExtentBody, WakePart, Why, pause, resume
from generation_worker.web.api.fleet import PauseView
from generation_worker.web.pages.render import HOME, checked, entered, go_back, render
from generation_worker.web.pages.session import Form, PageRoute, sees

CONTROL = f"{HOME}/control"
FIELDS: dict[What, str] = {"provider": "provider", "kind": "kind", "user": "user_id"}
"""The fields of the API for the kinds of extents."""
SETTING_GROUPS = ("calls_per_minute", "price")
"""Settings of which there is one for each provider, key or kind: ``price.text_to_image``."""
OPTION_BEHIND = {"concurrency": "WORKER_CONCURRENCY", "poll_interval": "POLL_INTERVAL_MS"}
"""Settings of each worker that apply while the fleet's setting is not set."""
ALWAYS_SHOWN = (
    "concurrency",
    "poll_interval",
    "seconds_per_credit",
    "credits_low",
    "caller_may_set_cost",
    "default_provider",
)
NOT_SHOWN = ("providers",)
"""Workers write it, not people."""

Operator = Annotated[auth.Caller, sees("operate")]
Admin = Annotated[auth.Caller, sees("admin")]


class ExtentForm(Form):
    """What to pause or resume."""

    what: What
    name: str | None = Field(default=None, max_length=255, pattern=requests.PRINTABLE)

    @model_validator(mode="after")
    def _named_or_everything(self) -> ExtentForm:
        """A name that was left out must not become everything."""
        if (self.what == "everything") != (self.name is None):
            problem = "everything has no name" if self.name else f"enter which {self.what} is meant"
            raise ValueError(f"name: {problem}")
        return self

    @property
    def body(self) -> ExtentBody:
        """The same as a body of the API. Raises RequestValidationError."""
        named = {} if self.what == "everything" else {FIELDS[self.what]: self.name}
        return checked(ExtentBody, {**named, "reason": self.reason})


class SettingForm(Form):
    name: str = Field(min_length=1, max_length=300, pattern=requests.PRINTABLE)


class ValueForm(SettingForm):
    value: str = Field(min_length=1, max_length=1000, pattern=requests.PRINTABLE)


class FleetSettingRow(NamedTuple):
    """A setting of the whole fleet, as the page shows it."""

    name: str
    meaning: str
    value: str | None
    """None: it is not set, and has no default."""
    source: str
    by: str | None
    since: datetime | None
    may_be_unset: bool


router = APIRouter(prefix=CONTROL, include_in_schema=False, route_class=PageRoute)


@router.get("")
def show_control(
    request: Request, caller: Annotated[auth.Caller, sees("read")], queries: app.Database, describe: DescribePart
) -> Response:
    paused = [PauseView.of(each) for each in fleet.list_pauses(queries)]
    settings = fleet.list_settings(queries)
    own = describe(settings) if caller.may("operate") else None  # the API does not show them to others either
    return render(
        request,
        "control.html",
        paused=paused,
        everything=any(each.what == "everything" for each in paused),
        kinds=KINDS,
        providers=_offered(settings),
        settings=None if own is None else setting_rows(settings, own),
        own=own,
        may_operate=caller.may("operate"),
        may_change=caller.may("admin"),
    )


@router.post("/pause")
def pause_extent(caller: Operator, form: Annotated[ExtentForm, FormBody()], queries: app.Database) -> Response:
    body = form.body
    changed = pause(queries, body.extent, by=audit_trail.Author(caller.name, body.reason))
    flash = "is paused now; running jobs continue" if changed else "was paused already; the reason is recorded"
    return go_back(form.back, f"{_title(body)} {flash}.", otherwise=CONTROL)


@router.post("/resume")
def resume_extent(caller: Operator, form: Annotated[ExtentForm, FormBody()], queries: app.Database) -> Response:
    body = form.body
    changed = resume(queries, body.extent, by=audit_trail.Author(caller.name, body.reason))
    flash = "is resumed" if changed else "was not paused"
    return go_back(form.back, f"{_title(body)} {flash}.", otherwise=CONTROL)


@router.post("/wake")
def wake_fleet(_: Operator, form: Annotated[Form, FormBody()], queries: app.Database, wake: WakePart) -> Response:
    wake()
    fleet.wake_workers(queries)
    return go_back(form.back, "Every worker polls now.", otherwise=CONTROL)


@router.post("/settings")
def change_setting(caller: Admin, form: Annotated[ValueForm, FormBody()], queries: app.Database) -> Response:
    _change_setting(queries, caller, form, entered(form.value))
    return go_back(form.back, f"{form.name} is {form.value} now.", otherwise=CONTROL)


@router.post("/settings/unset")
def unset_setting(caller: Admin, form: Annotated[SettingForm, FormBody()], queries: app.Database) -> Response:
    _change_setting(queries, caller, form, None)
    return go_back(form.back, f"{form.name} is no longer set: its default applies.", otherwise=CONTROL)


def setting_rows(settings: Sequence[fleet.FleetSetting], own: Iterable[Any]) -> list[FleetSettingRow]:
    """The settings of the fleet. ``own`` are those of the process that answers, as ``config.describe`` returns them."""
    by_name = {row.name: row for row in settings if row.name.partition(".")[0] != PREFIX}
    own_by_name = {row.name: row for row in own}
    others = sorted(name for name in by_name if name not in (*ALWAYS_SHOWN, *NOT_SHOWN))
    return [_setting_row(name, by_name, own_by_name) for name in (*ALWAYS_SHOWN, *others)]


def _setting_row(name: str, settings: Mapping[str, fleet.FleetSetting], own: Mapping[str, Any]) -> FleetSettingRow:
    meaning = _meaning(name)
    if found := settings.get(name):
        unset = may_be_unset(name)
        return FleetSettingRow(
            name, meaning, _text(found.value), "the fleet", found.updated_by, found.updated_at, unset
        )
    behind = own.get(OPTION_BEHIND.get(name, ""))
    if behind is None:
        return FleetSettingRow(name, meaning, None, "not set", None, None, False)
    source = f"{behind.name} of the process that answers ({behind.source}); each worker has its own"
    return FleetSettingRow(name, meaning, _in_seconds(behind), source, None, None, False)


def _meaning(name: str) -> str:
    """The description in the API's document."""
    field = ConfigChange.model_fields.get(name.partition(".")[0])
    return ((field and field.description) or "").replace("`", "")


def _in_seconds(row: Any) -> str:
    """Variables that end with _MS are in milliseconds; settings of the fleet never are."""
    return f"{float(row.value) / 1000:g}" if row.name.endswith("_MS") else row.value


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _offered(settings: Sequence[fleet.FleetSetting]) -> list[str]:
    """What can be paused: the providers that workers have registered, and the lane of jobs without one."""
    return [*(name for row in settings if row.name == "providers" for name in row.value), NO_PROVIDER]


def _title(body: ExtentBody) -> str:
    return str(body.extent).capitalize() if body.extent.what == "everything" else f"The {body.extent}"


def _change_setting(queries: query.Queries, caller: auth.Caller, form: SettingForm, value: Any) -> None:
    """Raises Problem, RequestValidationError and InvalidRequest."""
    body = checked(ConfigChange, {**_as_field(form.name, value), "reason": form.reason})
    fleet.change_settings(queries, body.changes(), by=audit_trail.Author(caller.name, body.reason))


def _as_field(name: str, value: Any) -> dict[str, Any]:
    """A field of the API's body, whose model rejects unknown names. Raises Problem."""
    if name in Why.model_fields:
        raise problems.Problem(422, "invalid_request", f"name: {name} is not a setting", field="name")
    head, _, rest = name.partition(".")
    return {head: {rest: value}} if head in SETTING_GROUPS and rest else {name: value}
