"""The settings over HTTP: all are shown, those of the whole fleet are changed while it runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any, Protocol

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from generation_worker.domain.control import HIGHEST_CONCURRENCY, HIGHEST_RATE, LONGEST_POLL, SHORTEST_POLL
from generation_worker.web.auth import GuardedRoute, needs
from generation_worker.web.caller import Caller
from generation_worker.web.control import CHANGES, Why
from generation_worker.web.job_requests import Provider
from generation_worker.web.problems import documented

Rate = Annotated[int, Field(strict=True, ge=1, le=HIGHEST_RATE)]
Price = Annotated[int, Field(strict=True, ge=0, le=1_000_000_000)]


class FleetRow(Protocol):
    """What the whole fleet follows."""

    @property
    def name(self) -> str: ...
    @property
    def value(self) -> Any: ...
    @property
    def updated_at(self) -> datetime: ...
    @property
    def updated_by(self) -> str | None: ...


class FleetSettings(Protocol):
    """Where they are kept. Each method may raise StoreUnavailable."""

    def settings(self) -> Sequence[FleetRow]: ...

    def change_settings(self, changes: Mapping[str, Any], *, by: str, reason: str | None) -> None: ...


class ConfigChange(Why):
    """What is left out stays as it is; null takes it back, so that what workers were started with holds again."""

    concurrency: int | None = Field(
        default=None, strict=True, ge=1, le=HIGHEST_CONCURRENCY, description="Jobs that one worker does at once."
    )
    poll_interval: float | None = Field(
        default=None,
        strict=True,
        ge=SHORTEST_POLL,
        le=LONGEST_POLL,
        description="Seconds between two looks of a busy worker.",
    )
    calls_per_minute: dict[str, Rate | None] = Field(default={}, max_length=100, description="By provider or key.")
    price: dict[str, Price | None] = Field(
        default={}, max_length=100, description="Credits for a job, by kind or by kind and provider: `KIND.PROVIDER`."
    )
    seconds_per_credit: float = Field(
        default=0, strict=True, gt=0, le=86_400, description="The pace of the fair order."
    )
    credits_low: int = Field(
        default=0,
        strict=True,
        ge=0,
        le=1_000_000_000,
        description="Endpoints may be told of balances that fall below it; 0: of none.",
    )
    caller_may_set_cost: bool = Field(default=False, strict=True)
    default_provider: Provider = ""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"concurrency": 8, "calls_per_minute": {"gemini": 30}, "reason": "a quiet night"}]
        }
    )

    def changes(self) -> dict[str, Any]:
        """Name → value, as the fleet's settings are called."""
        given = self.model_dump(exclude_unset=True, exclude={"reason"})
        return {name: value for head, part in given.items() for name, value in _spread(head, part)}


class ShownSetting(BaseModel):
    """A setting as it holds, in the words of the environment."""

    name: str
    value: str = Field(description="Of a secret only whether it is set.")
    source: str = Field(description="`database` where the fleet has set it; else default, environment, .env or option.")
    default: str
    secret: bool
    updated_by: str | None = Field(description="Who has set it for the fleet.")
    updated_at: datetime | None

    model_config = ConfigDict(from_attributes=True)


class ShownFleetSetting(BaseModel):
    """A setting of the whole fleet: a price, a limit, a pause."""

    name: str
    value: Any
    updated_by: str | None
    updated_at: datetime

    model_config = ConfigDict(from_attributes=True)


class Config(BaseModel):
    settings: list[ShownSetting] = Field(description="Of the process that answers.")
    fleet: list[ShownFleetSetting] = Field(description="What every process follows, prices and pauses included.")


def config_router(kept: FleetSettings, describe: Callable[[Sequence[FleetRow]], Sequence[Any]]) -> APIRouter:
    """``describe`` says what the settings of this process are while the fleet has set something."""
    router = APIRouter(prefix="/worker/config", tags=["control"], route_class=GuardedRoute)

    def shown() -> Config:
        fleet = kept.settings()
        return Config.model_validate({"settings": list(describe(fleet)), "fleet": list(fleet)})

    @router.get("", responses=documented(401, 403, 429, 503))
    def show_config(  # pyright: ignore[reportUnusedFunction]
        caller: Annotated[Caller, needs("operate", whole_fleet=True)],  # noqa: ARG001 - asked who they are
    ) -> Config:
        """Every setting, where it comes from, and who has set it for the fleet. Secrets are never shown."""
        return shown()

    @router.put("", responses=documented(*CHANGES))
    def change_config(  # pyright: ignore[reportUnusedFunction]
        caller: Annotated[Caller, needs("admin", whole_fleet=True)], body: ConfigChange
    ) -> Config:
        """Change settings of the whole fleet: all that are sent, or none. Workers follow within a heartbeat."""
        kept.change_settings(body.changes(), by=caller.name, reason=body.reason)
        return shown()

    return router


def _spread(head: str, part: Any) -> list[tuple[str, Any]]:
    if not isinstance(part, dict):
        return [(head, part)]
    return [(f"{head}.{name}", value) for name, value in part.items()]  # pyright: ignore[reportUnknownVariableType]
