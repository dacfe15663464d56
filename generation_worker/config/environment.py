"""Finds the settings' values among environment variables, whichever of their names was used."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches

from pydantic import ValidationError
from pydantic_settings import DotEnvSettingsSource

from generation_worker.config import retired
from generation_worker.config.declarations import declarations, is_duration
from generation_worker.config.durations import is_plain_number
from generation_worker.config.errors import ConfigurationError
from generation_worker.config.setting import Origin
from generation_worker.config.settings import Settings


@dataclass(frozen=True, slots=True)
class Layer:
    """Variables from one place, without those that are empty."""

    title: str
    variables: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Found:
    """The values that were set, by field, and where each came from."""

    values: dict[str, str]
    origins: dict[str, Origin]
    problems: list[str]


def read_layers(environ: Mapping[str, str] | None) -> list[Layer]:
    """``environ`` alone, or the process's environment before the ``.env`` file of the working directory.

    Raises ConfigurationError if that file cannot be read.
    """
    if environ is not None:
        return [_layer("environment", environ)]
    return [_layer("environment", os.environ), _layer(".env", _read_env_file())]


def find_values(layers: Sequence[Layer]) -> Found:
    """One value for each setting: from the first layer that has it under any of its names."""
    found = Found({}, {}, [])
    for field, setting in declarations().items():
        for layer in layers:
            named = {name: layer.variables[name] for name in setting.names if name in layer.variables}
            if named:
                _take(found, field, layer, named)
                break
    return found


def retired_variables(layers: Sequence[Layer]) -> list[str]:
    """A notice for each variable that earlier systems needed and this one does not."""
    names = [name for name in retired.VARIABLES if any(name in layer.variables for layer in layers)]
    return [f"{name} is set but no longer needed: {retired.VARIABLES[name]}" for name in names]


def misspelt_variables(layers: Sequence[Layer]) -> list[str]:
    """A notice for each variable whose name is nearly a setting's."""
    known = [name for setting in declarations().values() for name in setting.names]
    ours = {name.split("_")[0] for name in known} - {"OTEL"}  # OpenTelemetry has many more of its own
    names = {name for layer in layers for name in layer.variables if name.split("_")[0] in ours}
    notices: list[str] = []
    for name in sorted(names - set(known) - set(retired.VARIABLES)):
        near = get_close_matches(name, known, n=1, cutoff=0.9)
        notices.extend(f"{name} is not a setting and is ignored: is {other} meant?" for other in near)
    return notices


def _layer(title: str, variables: Mapping[str, str]) -> Layer:
    cleaned = {name: _clean(text) for name, text in variables.items()}
    return Layer(title, {name: text for name, text in cleaned.items() if text})


def _clean(text: str) -> str:
    """``text`` without the blanks and quotes around it, which ``docker run --env-file`` hands on as they stand."""
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


def _take(found: Found, field: str, layer: Layer, named: Mapping[str, str]) -> None:
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
