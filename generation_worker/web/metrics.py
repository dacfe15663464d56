"""The metrics, for Prometheus."""

from __future__ import annotations

from typing import Annotated, Protocol

from fastapi import APIRouter, Header, Query, Response

from generation_worker.web.auth import open_to_all


class Scrape(Protocol):
    """Gives the metrics and their content type, in a format that ``accept`` names."""

    def __call__(self, accept: str, *, fleet: bool) -> tuple[bytes, str]: ...


def metrics_router(scrape: Scrape) -> APIRouter:
    """``GET /metrics``. It names no user, and must be there while keys cannot be looked up: it asks for none."""
    router = APIRouter(tags=["metrics"])

    @router.get("/metrics", response_class=Response)
    @open_to_all
    def metrics(  # pyright: ignore[reportUnusedFunction]
        accept: Annotated[str, Header()] = "",
        fleet: Annotated[
            bool, Query(description="false leaves out what is asked of the database, so that it may sleep.")
        ] = True,
    ) -> Response:
        """Prometheus' metrics: those of this process, and of the whole fleet."""
        body, content_type = scrape(accept, fleet=fleet)
        return Response(body, headers={"Content-Type": content_type})

    return router
