"""What people have decided for the whole fleet: what is paused, and the settings that may change while it runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Protocol

from fastapi import APIRouter, Request, Response

from generation_worker.domain.job import NO_PROVIDER
from generation_worker.domain.payload import KINDS
from generation_worker.web.caller import Caller
from generation_worker.web.config_routes import FleetRow, FleetSettings
from generation_worker.web.dashboard.pages import PageRoute, sees
from generation_worker.web.dashboard.pausing import CONTROL
from generation_worker.web.dashboard.render import render
from generation_worker.web.dashboard.settings_view import Describe, settings_of
from generation_worker.web.pause_answers import KnownPause, pause_answer


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
