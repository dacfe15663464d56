"""Sign in with a key, and sign out."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Request, Response
from fastapi import Form as FormBody
from fastapi.responses import RedirectResponse
from pydantic import Field

from generation_worker.web.auth import open_to_all
from generation_worker.web.dashboard.links import SIGN_IN, SIGN_OUT, way_back
from generation_worker.web.dashboard.pages import Form, PageRoute, known
from generation_worker.web.dashboard.render import render
from generation_worker.web.dashboard.visitor import Door, SignInNeeded
from generation_worker.web.problems import Problem


class Key(Form):
    key: str = Field(min_length=1, max_length=200)


def sign_in_router(door: Door) -> APIRouter:
    router = APIRouter(include_in_schema=False, route_class=PageRoute)

    @router.get(SIGN_IN)
    @open_to_all
    def sign_in_page(request: Request, back: str | None = None) -> Response:  # pyright: ignore[reportUnusedFunction]
        try:
            known(request)
        except SignInNeeded:
            return _page(request, back)
        return RedirectResponse(way_back(back), 303)

    @router.post(SIGN_IN)
    @open_to_all
    def sign_in(request: Request, form: Annotated[Key, FormBody()]) -> Response:  # pyright: ignore[reportUnusedFunction]
        answer = RedirectResponse(way_back(form.back), 303)
        try:
            door.sign_in(request, answer, form.key)
        except Problem as problem:
            return _page(request, form.back, problem)
        return answer

    @router.post(SIGN_OUT)
    @open_to_all
    def sign_out(request: Request, form: Annotated[Form, FormBody()]) -> Response:  # noqa: ARG001 # pyright: ignore[reportUnusedFunction]
        known(request)
        answer = RedirectResponse(SIGN_IN, 303)
        door.sign_out(request, answer)
        return answer

    return router


def _page(request: Request, back: str | None, problem: Problem | None = None) -> Response:
    shown: dict[str, Any] = {"back": way_back(back), "problem": problem and problem.details}
    return render(request, "sign_in.html", status=problem.details.status if problem else 200, **shown)
