"""Error responses: ``application/problem+json`` (RFC 9457), and how exceptions become problems."""

import math
import re
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException

from generation_worker.domain.errors import InputRejected, InvalidPayload, StorageUnavailable
from generation_worker.domain.payload import KINDS
from generation_worker.domain.refusals import EnqueueRefused
from generation_worker.ports import StoreUnavailable

MEDIA_TYPE = "application/problem+json"
RETRY_AFTER = 5
"""Seconds after which a request may be sent again when the database or the storage did not answer."""


class Fault(BaseModel):
    """One thing that is wrong with a request."""

    field: str
    """Its place in the request: ``payload.prompt``, ``query.limit``, ``header.idempotency-key``."""
    detail: str


class ProblemDetails(BaseModel):
    """An error, for people (``detail``, ``remedy``) and for programs (``code``, ``field``)."""

    type: str = Field(default="about:blank", description="Always about:blank (RFC 9457); `code` is more precise.")
    title: str = Field(description="The name of the status.")
    status: int
    code: str = Field(description="What is wrong, in a word that never changes its meaning.")
    detail: str = Field(description="What is wrong, in a sentence.")
    field: str | None = Field(default=None, description="Which part of the request, such as `payload.prompt`.")
    remedy: str | None = Field(default=None, description="What to do about it.")
    errors: list[Fault] | None = Field(default=None, description="Each fault, where there can be several.")

    model_config = {
        "json_schema_extra": {
            "examples": [
                {
                    "type": "about:blank",
                    "title": "Payment Required",
                    "status": 402,
                    "code": "insufficient_credits",
                    "detail": "credits: user ada has 0 and what is waiting, this request included, costs 1",
                    "field": "credits",
                    "remedy": "Grant credits first: generation-worker credits grant USER AMOUNT",
                }
            ]
        }
    }


class Problem(Exception):
    """Raised by a route to answer with ``status``."""

    def __init__(
        self,
        status: int,
        code: str,
        detail: str,
        headers: Mapping[str, str] | None = None,
        *,
        field: str | None = None,
        remedy: str | None = None,
        errors: Sequence[Fault] | None = None,
    ) -> None:
        super().__init__(detail)
        self.headers = dict(headers or {})
        self.details = ProblemDetails(
            title=HTTPStatus(status).phrase,
            status=status,
            code=code,
            detail=detail,
            field=field,
            remedy=remedy or None,
            errors=list(errors) if errors else None,
        )


def too_early(code: str, detail: str, *, status: int, seconds: float, remedy: str | None = None) -> Problem:
    """A problem that goes away by waiting ``seconds``."""
    after = max(1, math.ceil(seconds))
    return Problem(status, code, detail, {"Retry-After": str(after)}, remedy=remedy)


def problem_of(error: Exception) -> Problem | None:
    """The response to an expected error; None for an unexpected one."""
    for kind in type(error).__mro__:
        if kind in _HANDLERS and kind is not Exception:
            return _HANDLERS[kind](error)
    return None


def answered_with(error: Exception) -> Problem:
    """The response to any error."""
    return problem_of(error) or _unexpected(error)


def describe_problems(app: FastAPI) -> None:
    """Have ``app`` answer every error with a problem."""
    for kind, problem in _HANDLERS.items():
        app.add_exception_handler(kind, _answering(problem))


def documented(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """For a route's ``responses``: the problems that it may answer with."""
    return {status: {"model": ProblemDetails, "description": HTTPStatus(status).phrase} for status in statuses}


def answer(problem: Problem) -> JSONResponse:
    details = problem.details
    return JSONResponse(details.model_dump(exclude_none=True), details.status, problem.headers, media_type=MEDIA_TYPE)


def _answering(problem_of: Any) -> Any:
    async def handle(_request: Request, error: Exception) -> JSONResponse:
        return answer(problem_of(error))

    return handle


_REFUSED = {
    "invalid_request": 422,
    "idempotency_conflict": 409,
    "insufficient_credits": 402,
    "job_not_found": 404,
    "job_not_replayable": 409,
    "input_gone": 409,
    "job_is_final": 409,
    "job_not_waiting": 409,
    "job_not_releasable": 409,
    "too_many_waiting": 429,
    "endpoint_not_found": 404,
    "endpoint_disabled": 409,
    "delivery_not_found": 404,
}
_RETRY_AFTER = {"too_many_waiting": 10}
"""Seconds, for refusals that go away by waiting."""
_FIELD = re.compile(r"([a-z_][a-z0-9_.\[\]-]*): ")


def _refusal(error: EnqueueRefused) -> Problem:
    status, after = _REFUSED[error.code], _RETRY_AFTER.get(error.code)
    headers = {"Retry-After": str(after)} if after else None
    return Problem(status, error.code, error.message, headers, field=_field_of(error.message), remedy=error.hint)


def _invalid_payload(error: InvalidPayload) -> Problem:
    """The error's message names fields relative to the payload."""
    field = _field_of(error.message)
    return Problem(422, "invalid_request", error.message, field=f"payload.{field}" if field else "payload")


def _field_of(message: str) -> str | None:
    found = _FIELD.match(message)
    return found[1] if found else None


def _invalid(error: RequestValidationError) -> Problem:
    """Never repeats values of the request: they may be personal."""
    faults = [Fault(field=_place(fault["loc"]), detail=_detail_of(fault)) for fault in error.errors()]
    if faults and any(fault["type"] == "json_invalid" for fault in error.errors()):
        return Problem(400, "invalid_json", f"The body is not JSON: {faults[0].detail}", field="body")
    shown = "; ".join(f"{fault.field}: {fault.detail}" for fault in faults[:10])
    return Problem(422, "invalid_request", shown, field=faults[0].field if faults else None, errors=faults[:50])


def _place(location: Sequence[int | str]) -> str:
    place, *parts = [str(part) for part in location]
    if place == "body":
        parts = [part for n, part in enumerate(parts) if n > 0 or part not in KINDS] or ["body"]
    else:
        parts = [place, *parts]
    return ".".join(parts)


def _detail_of(fault: Mapping[str, Any]) -> str:
    if fault["type"] == "extra_forbidden":
        return "unknown field"
    return str(fault["msg"]).removeprefix("Value error, ")


_CODES = {
    400: ("invalid_body", "The body cannot be read."),
    404: ("not_found", "There is nothing at this address."),
    405: ("method_not_allowed", "This address does not take that method."),
}


def _plain(error: HTTPException) -> Problem:
    """An error that the framework raises itself."""
    code, detail = _CODES.get(error.status_code, ("http_error", str(error.detail)))
    return Problem(error.status_code, code, detail, error.headers, remedy="See /docs for what there is.")


def _database_unavailable(_error: StoreUnavailable) -> Problem:
    return too_early(
        "database_unavailable",
        "The database does not answer.",
        status=503,
        seconds=RETRY_AFTER,
        remedy="Send it again.",
    )


def _storage_unavailable(_error: StorageUnavailable) -> Problem:
    return too_early(
        "storage_unavailable", "The storage does not answer.", status=503, seconds=RETRY_AFTER, remedy="Send it again."
    )


def _input_rejected(error: InputRejected) -> Problem:
    return Problem(422, error.code, f"The image cannot be used: {error.message}", field="body")


def _unexpected(_error: Exception) -> Problem:
    return Problem(500, "internal_error", "This should not have happened.", remedy="It is in the log; report it.")


def _itself(problem: Problem) -> Problem:
    return problem


_HANDLERS: dict[type[Exception], Any] = {
    Problem: _itself,
    RequestValidationError: _invalid,
    HTTPException: _plain,
    EnqueueRefused: _refusal,
    InvalidPayload: _invalid_payload,
    InputRejected: _input_rejected,
    StoreUnavailable: _database_unavailable,
    StorageUnavailable: _storage_unavailable,
    Exception: _unexpected,
}
