"""The forms that pause, resume and wake: on whichever page their buttons are."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

from fastapi import APIRouter, Response
from fastapi import Form as FormBody
from pydantic import Field, model_validator

from generation_worker.domain.pause import What
from generation_worker.web.caller import Caller
from generation_worker.web.control import Control, ExtentBody
from generation_worker.web.dashboard.checked import checked
from generation_worker.web.dashboard.pages import Form, PageRoute, sees
from generation_worker.web.dashboard.render import go_back
from generation_worker.web.fields import PRINTABLE

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
