"""Each refusal has a status of its own over HTTP: none is an error of ours."""

from __future__ import annotations

import pytest
from fastapi import APIRouter

from generation_worker.domain.refusals import RequestRefused
from generation_worker.web.auth import open_to_all
from tests.web.answers import problem
from tests.web.conftest import Serve


def refusals(base: type[RequestRefused] = RequestRefused) -> list[type[RequestRefused]]:
    return [found for each in base.__subclasses__() for found in (each, *refusals(each))]


@pytest.mark.parametrize("refusal", refusals(), ids=lambda refusal: refusal.code)
def test_each_has_a_status(serve: Serve, refusal: type[RequestRefused]):
    router = APIRouter()

    @router.get("/ask")
    @open_to_all
    def ask() -> None:  # pyright: ignore[reportUnusedFunction]
        raise refusal("a_field-1.x: is wrong", "Mend it.")

    answer = serve(router).get("/ask")
    assert 400 <= answer.status_code < 500
    found = problem(answer, answer.status_code, refusal.code)
    assert (found["field"], found["remedy"]) == ("a_field-1.x", "Mend it.")
