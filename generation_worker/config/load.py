"""Loads the settings from the environment and a ``.env`` file: one value for each, and every fault at once."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from pydantic import SecretStr, ValidationError
from pydantic_core import ErrorDetails
from pydantic_settings import DotEnvSettingsSource

from generation_worker.config.checks import notices_of, problems_of, unreadable_addresses
from generation_worker.config.kinds import ConfigurationError, Origin, is_plain_number
from generation_worker.config.settings import Settings, declarations, expectation, is_duration

RETIRED = {
    "REDIS_URL": "the queue is a table of the database",
    "SUPABASE_URL": "the database is reached through DATABASE_URL",
    "SUPABASE_SERVICE_ROLE_KEY": "the database is reached through DATABASE_URL, so this key is better withdrawn",
    "GEMINI_MAX_RETRIES": "the job's own retries replace it, see WORKER_MAX_RETRIES",
}
"""Variables of earlier systems → what replaces each. They are reported and otherwise ignored."""


@dataclass(frozen=True, slots=True)
class _Layer:
    """Variables from one place, without those that are empty."""

    title: str
    variables: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class _Found:
    """The values that were set, by field, and where each came from."""

    values: dict[str, str]
    origins: dict[str, Origin]
    problems: list[str]


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
    """The settings as far as they are right, and a line for each fault: a value that is wrong counts as not set.

    For a caller that goes on in spite of faults. Otherwise as ``load_settings``.
    """
    given = {field: value for field, value in overrides.items() if value is not None}
    _refuse_unknown(given)
    layers, unread = _readable_layers(environ)
    found = _find_values(layers)
    origins = found.origins | {field: Origin("option", declarations()[field].name) for field in given}
    settings, faults = _validate(found.values | given, origins)
    problems = unread + found.problems + faults + problems_of(settings)
    settings = settings.model_copy(update=dict.fromkeys(unreadable_addresses(settings)))
    notices = _retired_variables(layers) + _misspelt_variables(layers) + notices_of(settings)
    return settings.model_copy(update={"notices": notices}), problems


def _readable_layers(environ: Mapping[str, str] | None) -> tuple[list[_Layer], list[str]]:
    """The layers that can be read, and what is wrong with the ``.env`` file."""
    try:
        return _read_layers(environ), []
    except ConfigurationError as error:
        return _read_layers(os.environ), error.problems


def _refuse_unknown(overrides: Mapping[str, Any]) -> None:
    unknown = sorted(overrides.keys() - declarations().keys())
    if unknown:
        raise TypeError(f"no setting is called {', '.join(unknown)}")


def _validate(values: Mapping[str, Any], origins: Mapping[str, Origin]) -> tuple[Settings, list[str]]:
    """Settings of the values that are right, so that the other checks can go on, and a line for each wrong one."""
    try:
        return Settings.model_validate({**values, "origins": origins}), []
    except ValidationError as error:
        faults = [fault for fault in error.errors(include_url=False) if fault["loc"][0] in values]
    wrong = {str(fault["loc"][0]) for fault in faults}
    right = {field: value for field, value in values.items() if field not in wrong}
    problems = [_problem(fault, values, origins) for fault in faults]
    return Settings.model_validate({**right, "origins": origins}), list(dict.fromkeys(problems))


def _problem(fault: ErrorDetails, values: Mapping[str, Any], origins: Mapping[str, Origin]) -> str:
    field = str(fault["loc"][0])
    name = origins[field].name
    reason = fault["msg"].removeprefix("Value error, ")
    if reason.startswith("must "):
        return f"{name} {reason}"
    return f"{name} must be {expectation(field) or 'text'}{_shown(values[field], field)}"


def _shown(value: Any, field: str) -> str:
    """The value, if it is short: a long one may be a secret that was put under the wrong name."""
    text = str(value)
    short = len(text) <= 16 and text.isprintable()
    return f", not {text!r}" if short and not declarations()[field].secret and not isinstance(value, SecretStr) else ""


def _read_layers(environ: Mapping[str, str] | None) -> list[_Layer]:
    """``environ`` alone, or the process's environment before the ``.env`` file of the working directory.

    Raises ConfigurationError if that file cannot be read.
    """
    if environ is not None:
        return [_layer("environment", environ)]
    return [_layer("environment", os.environ), _layer(".env", _read_env_file())]


def _find_values(layers: Sequence[_Layer]) -> _Found:
    """One value for each setting: from the first layer that has it under any of its names."""
    found = _Found({}, {}, [])
    for field, setting in declarations().items():
        for layer in layers:
            named = {name: layer.variables[name] for name in setting.names if name in layer.variables}
            if named:
                _take(found, field, layer, named)
                break
    return found


def _retired_variables(layers: Sequence[_Layer]) -> list[str]:
    """A notice for each variable that earlier systems needed and this one does not."""
    names = [name for name in RETIRED if any(name in layer.variables for layer in layers)]
    return [f"{name} is set but no longer needed: {RETIRED[name]}" for name in names]


def _misspelt_variables(layers: Sequence[_Layer]) -> list[str]:
    """A notice for each variable whose name is nearly a setting's."""
    known = [name for setting in declarations().values() for name in setting.names]
    ours = {name.split("_")[0] for name in known} - {"OTEL"}  # OpenTelemetry has many more of its own
    names = {name for layer in layers for name in layer.variables if name.split("_")[0] in ours}
    notices: list[str] = []
    for name in sorted(names - set(known) - set(RETIRED)):
        near = get_close_matches(name, known, n=1, cutoff=0.9)
        notices.extend(f"{name} is not a setting and is ignored: is {other} meant?" for other in near)
    return notices


def _layer(title: str, variables: Mapping[str, str]) -> _Layer:
    cleaned = {name: _clean(text) for name, text in variables.items()}
    return _Layer(title, {name: text for name, text in cleaned.items() if text})


def _clean(text: str) -> str:
    """``text`` without the blanks and quotes around it, which ``docker run --env-file`` does not remove."""
    text = text.strip()
    if len(text) > 1 and text[0] == text[-1] and text[0] in "'\"":
        return text[1:-1].strip()
    return text


def _read_env_file() -> dict[str, str]:
    try:
        source = DotEnvSettingsSource(Settings, env_file=".env", case_sensitive=True, env_ignore_empty=True)
    except (OSError, UnicodeDecodeError):
        raise ConfigurationError([".env cannot be read: make it a readable UTF-8 file, or remove it"]) from None
    return {name: value for name, value in source.env_vars.items() if value is not None}


def _take(found: _Found, field: str, layer: _Layer, named: Mapping[str, str]) -> None:
    """``named`` are the names of one setting that are set in ``layer``, and their values."""
    values = {name: _with_unit(field, name, text) for name, text in named.items()}
    name, value = next(iter(values.items()))
    found.values[field] = value
    found.origins[field] = Origin(layer.title, name)
    if not _agree(field, list(values.values())):
        names = " and ".join(values)
        found.problems.append(f"{names} are two names of one setting and disagree: set one, or both to the same value")


def _with_unit(field: str, name: str, text: str) -> str:
    """A plain number counts in the unit of the name that it was given under."""
    in_milliseconds = is_duration(field) and name.endswith("_MS") and is_plain_number(text)
    return f"{text}ms" if in_milliseconds else text


def _agree(field: str, values: Sequence[str]) -> bool:
    """Whether all ``values`` mean the same, as 5s and 5000ms do."""
    if len(set(values)) == 1:
        return True
    try:
        meanings = [getattr(Settings.model_validate({field: value}), field) for value in values]
    except ValidationError:
        return False
    return all(meaning == meanings[0] for meaning in meanings)
