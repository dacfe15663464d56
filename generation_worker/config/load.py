"""Loading the settings: everything that is wrong is said at once."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from pydantic import SecretStr, ValidationError
from pydantic_core import ErrorDetails

from generation_worker.config import checks
from generation_worker.config.declarations import declarations, expectation
from generation_worker.config.environment import Layer, find_values, misspelt_variables, read_layers, retired_variables
from generation_worker.config.errors import ConfigurationError
from generation_worker.config.setting import Origin
from generation_worker.config.settings import Settings


def load_settings(environ: Mapping[str, str] | None = None, **overrides: Any) -> Settings:
    """The settings of ``environ``; without it, of the process's environment and, behind it, a ``.env`` file here.

    ``overrides`` are values by field name, as from the command line; they win, and None means not
    given. A variable that is empty counts as not set. Raises ConfigurationError with every fault
    at once, and TypeError for an override that is no setting.
    """
    settings, problems = examine_settings(environ, **overrides)
    if problems:
        raise ConfigurationError(problems)
    return settings


def examine_settings(environ: Mapping[str, str] | None = None, **overrides: Any) -> tuple[Settings, list[str]]:
    """The settings as far as they are right, and a line for each fault: what is wrong counts as not set.

    For whoever looks at everything all the same. Otherwise as ``load_settings``.
    """
    given = {field: value for field, value in overrides.items() if value is not None}
    _refuse_unknown(given)
    layers, unread = _layers(environ)
    found = find_values(layers)
    origins = found.origins | {field: Origin("option", declarations()[field].name) for field in given}
    settings, faults = _validate(found.values | given, origins)
    problems = unread + found.problems + faults + checks.problems(settings)
    settings = settings.model_copy(update=dict.fromkeys(checks.unreadable_addresses(settings)))
    notices = retired_variables(layers) + misspelt_variables(layers) + checks.notices(settings)
    return settings.model_copy(update={"notices": notices}), problems


def _layers(environ: Mapping[str, str] | None) -> tuple[list[Layer], list[str]]:
    try:
        return read_layers(environ), []
    except ConfigurationError as error:
        return read_layers(os.environ), error.problems


def _refuse_unknown(overrides: Mapping[str, Any]) -> None:
    unknown = sorted(overrides.keys() - declarations().keys())
    if unknown:
        raise TypeError(f"no setting is called {', '.join(unknown)}")


def _validate(values: Mapping[str, Any], origins: Mapping[str, Origin]) -> tuple[Settings, list[str]]:
    """Settings of the values that are right, so that the other checks can go on, and a line for each that is wrong."""
    try:
        return Settings.model_validate({**values, "origins": origins}), []
    except ValidationError as error:
        faults = [fault for fault in error.errors(include_url=False) if fault["loc"][0] in values]
    wrong = {str(fault["loc"][0]) for fault in faults}
    right = {field: value for field, value in values.items() if field not in wrong}
    problems = [_problem(fault, origins) for fault in faults]
    return Settings.model_validate({**right, "origins": origins}), list(dict.fromkeys(problems))


def _problem(fault: ErrorDetails, origins: Mapping[str, Origin]) -> str:
    field = str(fault["loc"][0])
    name = origins[field].name
    reason = fault["msg"].removeprefix("Value error, ")
    if reason.startswith("must "):
        return f"{name} {reason}"
    return f"{name} must be {expectation(field) or 'text'}{_shown(fault['input'], field)}"


def _shown(value: Any, field: str) -> str:
    """The value, if it is short: a long one may be a secret that was put under the wrong name."""
    text = str(value)
    short = len(text) <= 16 and text.isprintable()
    return f", not {text!r}" if short and not declarations()[field].secret and not isinstance(value, SecretStr) else ""
