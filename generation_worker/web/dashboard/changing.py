"""The forms that change a setting of the whole fleet and take it back, on whichever page they are."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Response
from fastapi import Form as FormBody
from pydantic import Field

from generation_worker.web.caller import Caller
from generation_worker.web.config_routes import ConfigChange, FleetSettings
from generation_worker.web.control import Why
from generation_worker.web.dashboard.checked import checked, entered
from generation_worker.web.dashboard.pages import Form, PageRoute, sees
from generation_worker.web.dashboard.pausing import CONTROL
from generation_worker.web.dashboard.render import go_back
from generation_worker.web.fields import PRINTABLE
from generation_worker.web.problems import Problem

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
