"""What is chosen on a page by a form that is not filled in altogether."""

from __future__ import annotations

from typing import Any

from pydantic import model_validator

from generation_worker.web.dashboard.untyped import fields
from generation_worker.web.fields import RequestModel


class Choosing(RequestModel):
    """A browser sends every field of a form; those that were left empty choose nothing."""

    @model_validator(mode="before")
    @classmethod
    def _without_what_is_empty(cls, sent: Any) -> Any:
        return {name: value for name, value in fields(sent).items() if value != ""}
