"""The forms that pause, resume and wake: on whichever page their buttons are."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any, NamedTuple, Protocol

from fastapi import APIRouter, Request, Response
from fastapi import Form as FormBody
from pydantic import Field, model_validator

from generation_worker.domain.fleet import PREFIX, What, may_be_unset
from generation_worker.domain.job import NO_PROVIDER
from generation_worker.domain.payload import KINDS
from generation_worker.web.api.control import ConfigChange, Control, ExtentBody, FleetRow, FleetSettings, Why
from generation_worker.web.api.fleet import KnownPause, pause_answer
from generation_worker.web.auth import Caller
from generation_worker.web.pages.render import checked, entered, go_back, render
from generation_worker.web.pages.session import Form, PageRoute, sees
from generation_worker.web.problems import Problem
from generation_worker.web.requests import PRINTABLE

CONTROL = "/dashboard/control"
Operator = Annotated[Caller, sees("operate")]
FIELDS: dict[What, str] = {"provider": "provider", "kind": "kind", "user": "user_id"}
"""As the API calls them."""


class ExtentForm(Form):
    what: What
    name: str | None = Field(default=None, max_length=255, pattern=PRINTABLE)

    @model_validator(mode="after")
    def _named_or_everything(self) -> ExtentForm:
        """A name that was left out must not become everything."""
        if (self.what == "everything") != (self.name is None):
            said = "everything has no name" if self.name else f"enter which {self.what} is meant"
            raise ValueError(f"name: {said}")
        return self

    @property
    def meant(self) -> ExtentBody:
        """Raises RequestValidationError."""
        named = {} if self.what == "everything" else {FIELDS[self.what]: self.name}
        return checked(ExtentBody, {**named, "reason": self.reason})


def pausing_router(control: Control, wake_here: Callable[[], None]) -> APIRouter:
    router = APIRouter(include_in_schema=False, route_class=PageRoute)

    @router.post(f"{CONTROL}/pause")
    def pause(caller: Operator, form: Annotated[ExtentForm, FormBody()]) -> Response:  # pyright: ignore[reportUnusedFunction]
        asked = form.meant
        news = control.pause(asked.extent, by=caller.name, reason=asked.reason)
        said = "is paused now; what runs goes on" if news else "was paused already; the reason is noted"
        return go_back(form.back, f"{_title(asked)} {said}.", otherwise=CONTROL)

    @router.post(f"{CONTROL}/resume")
    def resume(caller: Operator, form: Annotated[ExtentForm, FormBody()]) -> Response:  # pyright: ignore[reportUnusedFunction]
        asked = form.meant
        was_paused = control.resume(asked.extent, by=caller.name, reason=asked.reason)
        said = "goes on" if was_paused else "was not paused"
        return go_back(form.back, f"{_title(asked)} {said}.", otherwise=CONTROL)

    @router.post(f"{CONTROL}/wake")
    def wake(caller: Operator, form: Annotated[Form, FormBody()]) -> Response:  # noqa: ARG001 # pyright: ignore[reportUnusedFunction]
        wake_here()
        control.wake()
        return go_back(form.back, "Every worker looks for work now.", otherwise=CONTROL)

    return router


def _title(asked: ExtentBody) -> str:
    return str(asked.extent).capitalize() if asked.extent.what == "everything" else f"The {asked.extent}"


# The forms that change a setting of the whole fleet and take it back, on whichever page they are.


Admin = Annotated[Caller, sees("admin")]
SETTINGS = f"{CONTROL}/settings"
OF_SEVERAL = ("calls_per_minute", "price")
"""Settings of which there is one for each provider, key or kind: ``price.text_to_image``."""


class SettingForm(Form):
    name: str = Field(min_length=1, max_length=300, pattern=PRINTABLE)


class ValueForm(SettingForm):
    value: str = Field(min_length=1, max_length=1000, pattern=PRINTABLE)


def changing_router(kept: FleetSettings) -> APIRouter:
    router = APIRouter(include_in_schema=False, route_class=PageRoute)

    @router.post(SETTINGS)
    def change(caller: Admin, form: Annotated[ValueForm, FormBody()]) -> Response:  # pyright: ignore[reportUnusedFunction]
        _change(caller, form, entered(form.value))
        return go_back(form.back, f"{form.name} is {form.value} now.", otherwise=CONTROL)

    @router.post(f"{SETTINGS}/unset")
    def take_back(caller: Admin, form: Annotated[SettingForm, FormBody()]) -> Response:  # pyright: ignore[reportUnusedFunction]
        _change(caller, form, None)
        return go_back(form.back, f"{form.name} is no longer set: what stands behind it holds.", otherwise=CONTROL)

    def _change(caller: Caller, form: SettingForm, value: Any) -> None:
        asked = checked(ConfigChange, {**_named(form.name, value), "reason": form.reason})
        kept.change_settings(asked.changes(), by=caller.name, reason=asked.reason)

    return router


def _named(name: str, value: Any) -> dict[str, Any]:
    """As the API calls it, which says what is wrong with a name that there is not. Raises Problem."""
    if name in Why.model_fields:
        raise Problem(422, "invalid_request", f"name: {name} is not a setting", field="name")
    head, _, rest = name.partition(".")
    return {head: {rest: value}} if head in OF_SEVERAL and rest else {name: value}


# The settings that may change while the fleet runs: what holds, who says so, and what stands behind it.


OF_EACH_WORKER = {"concurrency": "WORKER_CONCURRENCY", "poll_interval": "POLL_INTERVAL_MS"}
"""Where nothing is set for the fleet, each worker does as it was started."""
ALWAYS = (
    "concurrency",
    "poll_interval",
    "seconds_per_credit",
    "credits_low",
    "caller_may_set_cost",
    "default_provider",
)
NOT_CHANGED_HERE = ("providers",)
"""Workers say what they offer."""

Describe = Callable[[Sequence[FleetRow]], Sequence[Any]]


class Setting(NamedTuple):
    name: str
    meaning: str
    value: str | None
    """None: nothing is set, and nothing stands behind it."""
    source: str
    by: str | None
    since: datetime | None
    may_be_unset: bool


def settings_of(fleet: Sequence[FleetRow], own: Iterable[Any]) -> list[Setting]:
    """``own`` are the settings of the process that answers, as ``describe`` has them."""
    by_name = {row.name: row for row in fleet if row.name.partition(".")[0] != PREFIX}
    started_with = {row.name: row for row in own}
    others = sorted(name for name in by_name if name not in (*ALWAYS, *NOT_CHANGED_HERE))
    return [_setting(name, by_name, started_with) for name in (*ALWAYS, *others)]


def _setting(name: str, fleet: Mapping[str, FleetRow], started_with: Mapping[str, Any]) -> Setting:
    meaning = _meaning(name)
    if found := fleet.get(name):
        unset = may_be_unset(name)
        return Setting(name, meaning, _text(found.value), "the fleet", found.updated_by, found.updated_at, unset)
    behind = started_with.get(OF_EACH_WORKER.get(name, ""))
    if behind is None:
        return Setting(name, meaning, None, "not set", None, None, False)
    source = f"{behind.name} of the process that answers ({behind.source}); each worker has its own"
    return Setting(name, meaning, _in_seconds(behind), source, None, None, False)


def _meaning(name: str) -> str:
    """As the API's document says it."""
    field = ConfigChange.model_fields.get(name.partition(".")[0])
    return ((field and field.description) or "").replace("`", "")


def _in_seconds(row: Any) -> str:
    """The environment has milliseconds where its names say so; the fleet's settings never have."""
    return f"{float(row.value) / 1000:g}" if row.name.endswith("_MS") else row.value


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


# What people have decided for the whole fleet: what is paused, and the settings that may change while it runs.


class Kept(FleetSettings, Protocol):
    """What people have set. Each method may raise StoreUnavailable."""

    def pauses(self) -> Sequence[KnownPause]: ...


def control_pages(kept: Kept, describe: Describe) -> APIRouter:
    """``describe`` says what the settings of this process are while the fleet has set something."""
    router = APIRouter(include_in_schema=False, route_class=PageRoute)

    @router.get(CONTROL)
    def control(request: Request, caller: Annotated[Caller, sees("read")]) -> Response:  # pyright: ignore[reportUnusedFunction]
        paused = [pause_answer(pause) for pause in kept.pauses()]
        fleet = kept.settings()
        return render(
            request,
            "control.html",
            paused=paused,
            everything=any(pause.what == "everything" for pause in paused),
            kinds=KINDS,
            providers=_offered(fleet),
            may_operate=caller.may("operate"),
            may_change=caller.may("admin"),
            **_settings(caller, fleet, describe),
        )

    return router


def _settings(caller: Caller, fleet: Sequence[FleetRow], describe: Describe) -> dict[str, Any]:
    """For whom the API would show them."""
    if not caller.may("operate"):
        return {"settings": None, "own": None}
    own = describe(fleet)
    return {"settings": settings_of(fleet, own), "own": own}


def _offered(fleet: Sequence[FleetRow]) -> list[str]:
    """What can be paused: the providers that workers have made known, and what needs none."""
    return [*(name for row in fleet if row.name == "providers" for name in row.value), NO_PROVIDER]
