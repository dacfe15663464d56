"""Forms are held to the same rules as what is sent to the API: by the models of its routes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, TypeVar

from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ValidationError

M = TypeVar("M", bound=BaseModel)


def checked(model: type[M], values: Mapping[str, Any]) -> M:
    """What the API would have taken. Raises RequestValidationError, which becomes a page that names the field."""
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise RequestValidationError([{**fault, "loc": ("body", *fault["loc"])} for fault in error.errors()]) from None


def entered(text: str) -> Any:
    """What somebody means who enters this: numbers, true and false as in JSON, other words as they stand."""
    try:
        meant = json.loads(text)
    except ValueError:
        return text
    return text if meant is None else meant  # for the API nothing takes a setting back; here another button does
