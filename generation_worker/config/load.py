"""Loading the settings: everything that is wrong is said at once."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from typing import Any, Literal, get_args, get_origin

from annotated_types import Interval
from pydantic import SecretStr, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails
from pydantic_settings import DotEnvSettingsSource

from generation_worker.config.database import parse_database_url
from generation_worker.config.kinds import (
    DURATION,
    ConfigurationError,
    Origin,
    Setting,
    format_duration,
    is_plain_number,
)
from generation_worker.config.settings import OTLP_HTTP, Settings

# The declarations of the settings, read back from their fields.


@cache
def declarations() -> dict[str, Setting]:
    """Field → its declaration, in the order of the declarations."""
    found: dict[str, Setting] = {}
    for field, info in Settings.model_fields.items():
        setting = next((part for part in info.metadata if isinstance(part, Setting)), None)
        if setting is not None:
            found[field] = setting
    return found


def is_duration(field: str) -> bool:
    return DURATION in _info(field).metadata


def expectation(field: str) -> str | None:
    """What a value of ``field`` must be, after "must be"; None if its validator says it better."""
    kind = _info(field).annotation
    if kind is bool:
        return "true or false"
    if get_origin(kind) is Literal:
        *others, last = map(str, get_args(kind))
        return f"{', '.join(others)} or {last}"
    if is_duration(field):
        return f"a duration such as 500ms, 30s, 5m or 1h{_range(field, format_duration)}"
    if kind is int:
        return f"a whole number{_range(field, str)}"
    return f"a number{_range(field, '{:g}'.format)}" if kind is float else None


def _info(field: str) -> FieldInfo:
    return Settings.model_fields[field]


def _range(field: str, text: Any) -> str:
    limits = next((part for part in _info(field).metadata if isinstance(part, Interval)), None)
    return "" if limits is None else f", from {text(limits.ge)} to {text(limits.le)}"


# What earlier systems needed and this one does not: read, reported, otherwise ignored.


VARIABLES = {
    "REDIS_URL": "the queue is a table of the database",
    "SUPABASE_URL": "the database is reached through DATABASE_URL",
    "SUPABASE_SERVICE_ROLE_KEY": "the database is reached through DATABASE_URL, so this key is better withdrawn",
    "GEMINI_MAX_RETRIES": "the job's own retries replace it, see WORKER_MAX_RETRIES",
}
"""Variable → what took its place."""

_GEMINI_PREFIXES = ("gemini-1.", "gemini-2.", "gemini-3.1-flash-image", "imagen-")


def is_retired_model(model: str) -> bool:
    """Whether Google has retired ``model``, or announced it, or whether it never made images."""
    name = model.removeprefix("models/")
    return name.startswith(_GEMINI_PREFIXES) or name.endswith("-preview")


# What no setting can tell alone: whether they fit each other, and what is worth a notice.


_S3 = ("s3_bucket", "aws_access_key_id", "aws_secret_access_key")
_R2 = ("r2_bucket", "r2_account_id", "r2_access_key_id", "r2_secret_access_key")
_WEBHOOK = ("replicate_webhook_secrets", "replicate_webhook_url")

_BYTES_PER_PIXEL = 8
"""An image and its converted copy, four bytes each."""


def problems_of(settings: Settings) -> list[str]:
    """One line for each fault, naming every variable that has a part in it."""
    return [*_addresses(settings), *_webhook(settings), *_storage(settings), *_numbers(settings)]


def notices_of(settings: Settings) -> list[str]:
    """One line for each thing that is worth knowing though nothing is wrong."""
    return [
        *_about_the_database(settings),
        *_about_models(settings),
        *_about_storage(settings),
        *_about_inputs(settings),
        *_about_time(settings),
        *_about_traces(settings),
    ]


def unreadable_addresses(settings: Settings) -> dict[str, list[str]]:
    """The fields that hold no address of a database, and what is wrong with each."""
    faults: dict[str, list[str]] = {}
    for field in ("database_url", "direct_url"):
        url = getattr(settings, field)
        try:
            if url is not None:
                parse_database_url(url.get_secret_value(), declarations()[field].name)
        except ConfigurationError as error:
            faults[field] = error.problems
    return faults


def _addresses(settings: Settings) -> Iterator[str]:
    for problems in unreadable_addresses(settings).values():
        yield from problems


def _webhook(settings: Settings) -> Iterator[str]:
    if settings.is_set(*_WEBHOOK):
        yield from _half(settings, "Replicate's webhook", _WEBHOOK)


def _storage(settings: Settings) -> Iterator[str]:
    if settings.is_set("s3_bucket") and settings.is_set("r2_bucket"):
        yield "S3_BUCKET and R2_BUCKET are both set: images go to one place, so remove one of them"
    # Keys of AWS may be there for something else, so they ask for a bucket only if nothing else is chosen.
    elsewhere = settings.is_set("r2_bucket", "storage_dir")
    if settings.is_set("s3_bucket") or (settings.is_set(*_S3, "s3_endpoint_url") and not elsewhere):
        yield from _half(settings, "S3", _S3)
    if settings.is_set(*_R2, "r2_public_url"):
        yield from _half(settings, "R2", _R2)


def _half(settings: Settings, title: str, fields: tuple[str, ...]) -> Iterator[str]:
    missing = [declarations()[field].name for field in fields if not settings.is_set(field)]
    if missing:
        yield f"{', '.join(missing)} missing: other settings of {title} are there, so set all of them or none"


def _numbers(settings: Settings) -> Iterator[str]:
    if settings.retry_max_delay < settings.retry_initial_delay:
        yield _too_short(settings, "retry_max_delay", "retry_initial_delay")
    if settings.idle_poll_interval < settings.poll_interval:
        yield _too_short(settings, "idle_poll_interval", "poll_interval")
    if settings.max_stuck_threads > settings.concurrency:
        yield (
            f"MAX_STUCK_THREADS ({settings.max_stuck_threads}) would never be reached: "
            f"lower it to {_name(settings, 'concurrency')} ({settings.concurrency}) or below"
        )
    needed = settings.image_max_pixels * _BYTES_PER_PIXEL // 2**20
    if settings.image_memory_mb < needed:
        yield (
            f"IMAGE_MEMORY_MB ({settings.image_memory_mb}) is too little for IMAGE_MAX_PIXELS "
            f"({settings.image_max_pixels}): raise it to {needed} at least, or allow fewer pixels"
        )


def _too_short(settings: Settings, longer: str, shorter: str) -> str:
    long, short = (format_duration(getattr(settings, field)) for field in (longer, shorter))
    return (
        f"{_name(settings, longer)} ({long}) is shorter than {_name(settings, shorter)} ({short}): "
        f"raise the first or lower the second"
    )


def _name(settings: Settings, field: str) -> str:
    """The variable as the user knows it."""
    return settings.origins[field].name if field in settings.origins else declarations()[field].name


def _about_the_database(settings: Settings) -> Iterator[str]:
    addresses = settings.database_addresses()
    for address in addresses.values():
        yield from address.notices
    direct = addresses.get("DIRECT_URL")
    if direct is not None and direct.pooled:
        yield "DIRECT_URL is the address of a pooler: give the one without it, for migrations and LISTEN"
    elif addresses and settings.direct_database() is None:
        yield (
            "DATABASE_URL is the address of a pooler and DIRECT_URL is not set: new jobs are found by polling "
            "alone, and migrations go through the pooler"
        )


def _about_models(settings: Settings) -> Iterator[str]:
    if is_retired_model(settings.gemini_model):
        newer = type(settings).model_fields["gemini_model"].default
        name = _name(settings, "gemini_model")
        yield f"{name} is {settings.gemini_model}, which Google has retired for images: use {newer}"


def _about_storage(settings: Settings) -> Iterator[str]:
    if settings.storage == "disk" and not settings.is_set("storage_dir"):
        yield (
            "neither S3_BUCKET, R2_BUCKET nor STORAGE_DIR is set: images are kept on this machine's disk, in "
            f"{settings.storage_dir}/, which most hosts clear with each deploy"
        )
    elif settings.storage != "disk" and settings.is_set("storage_dir"):
        yield f"STORAGE_DIR is not used: images go to {settings.storage.upper()}"


def _about_inputs(settings: Settings) -> Iterator[str]:
    if settings.fetch_allow_private:
        yield (
            "FETCH_ALLOW_PRIVATE is on: whoever enqueues jobs can have this worker ask every host that it reaches, "
            "private ones and a cloud's metadata too; turn it off wherever others than you enqueue"
        )


def _about_time(settings: Settings) -> Iterator[str]:
    if settings.lease_duration > settings.job_timeout:
        lease, timeout = format_duration(settings.lease_duration), format_duration(settings.job_timeout)
        yield (
            f"LEASE_DURATION ({lease}) is longer than WORKER_JOB_TIMEOUT ({timeout}): "
            f"after a crash a job waits longer for its next attempt than the attempt may take"
        )


def _about_traces(settings: Settings) -> Iterator[str]:
    exporter, protocol = settings.otel_traces_exporter, settings.otel_protocol
    if settings.asks_for_traces and protocol != OTLP_HTTP:
        yield (
            f"OTEL_EXPORTER_OTLP_PROTOCOL: only {OTLP_HTTP} is spoken here, not {protocol!r}, so no traces are sent: "
            "set it to that, and the address to the collector's port for HTTP, most often 4318"
        )
    elif exporter not in (None, "none") and not (settings.asks_for_traces or settings.otel_sdk_disabled):
        yield f"OTEL_TRACES_EXPORTER: only otlp and none are known here, not {exporter!r}, so no traces are sent"


# Finds the settings' values among environment variables, whichever of their names was used.


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
    names = [name for name in VARIABLES if any(name in layer.variables for layer in layers)]
    return [f"{name} is set but no longer needed: {VARIABLES[name]}" for name in names]


def misspelt_variables(layers: Sequence[Layer]) -> list[str]:
    """A notice for each variable whose name is nearly a setting's."""
    known = [name for setting in declarations().values() for name in setting.names]
    ours = {name.split("_")[0] for name in known} - {"OTEL"}  # OpenTelemetry has many more of its own
    names = {name for layer in layers for name in layer.variables if name.split("_")[0] in ours}
    notices: list[str] = []
    for name in sorted(names - set(known) - set(VARIABLES)):
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
    problems = unread + found.problems + faults + problems_of(settings)
    settings = settings.model_copy(update=dict.fromkeys(unreadable_addresses(settings)))
    notices = retired_variables(layers) + misspelt_variables(layers) + notices_of(settings)
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
