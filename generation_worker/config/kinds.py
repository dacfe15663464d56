"""The building blocks of the settings: how one is declared, and the kinds of value that it can have.

A validator of a kind says what a value must be, in words that follow the variable's name, and never repeats the value:
it may be a secret.
"""

import base64
import binascii
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from ipaddress import ip_address
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from annotated_types import Interval
from pydantic import AfterValidator, BeforeValidator, Field, SecretStr

from generation_worker.domain.schema import SCHEMA_NAME, SCHEMA_RULE


class ConfigurationError(Exception):
    """The configuration cannot be used.

    ``problems`` has one line for each fault: the variable's name, what is wrong with it and
    the remedy, never the value of a secret.
    """

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems: list[str] = list(problems)
        super().__init__("\n".join(self.problems))


@dataclass(frozen=True, slots=True)
class Setting:
    """The declaration of one setting, part of its field's metadata."""

    group: str
    name: str
    aliases: tuple[str, ...]
    help: str
    secret: bool = False
    default: str | None = None
    """The default in words, where it is not a plain value."""
    example: str | None = None
    """What ``.env.example`` shows, where the default would not help."""
    followed: str | None = None
    """The fleet's setting that holds instead, if there is one."""

    @property
    def names(self) -> tuple[str, ...]:
        return (self.name, *self.aliases)


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a value came from: ``layer`` is environment, .env or option; ``name`` is the variable as it was set."""

    layer: str
    name: str


def declare(
    name: str,
    default: Any,
    help: str,  # noqa: A002 - the word that typer and argparse use
    *,
    group: str,
    aliases: tuple[str, ...] = (),
    between: tuple[float, float] | None = None,
    secret: bool = False,
    default_words: str | None = None,
    example: str | None = None,
    followed: str | None = None,
) -> Any:
    """A field of the settings: its variable, its default and a sentence about it.

    A ``default`` that is a function makes the default, from the fields declared before if it takes an argument;
    ``default_words`` then describes it. ``between`` is the range of a number, both ends included, in seconds for a
    duration. The other arguments are those of ``Setting``.
    """
    field: Any = Field(default_factory=default) if callable(default) else Field(default=default)
    field.metadata.append(Setting(group, name, aliases, help, secret, default_words, example, followed))
    if between is not None:
        field.metadata.append(Interval(ge=between[0], le=between[1]))
    return field


def group(title: str) -> Callable[..., Any]:
    """``declare`` for the settings under ``title``."""
    return partial(declare, group=title)


def derived(field: str, derive: Callable[[Any], Any] = lambda value: value) -> Callable[[dict[str, Any]], Any]:
    """A default that follows another field, which must be declared before."""
    return lambda fields: derive(fields[field])


# Durations as people write them: 500ms, 30s, 5m, 1h, 90d, 1h30m. Inside, they are float seconds.

MINUTE, HOUR, DAY = 60.0, 3600.0, 86_400.0

_MILLISECONDS = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_PLAIN = re.compile(r"[0-9]+(?:\.[0-9]+)?")
_PART = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|s|m|h|d)")
_WHOLE = re.compile(rf"(?:{_PART.pattern})+")


def is_plain_number(text: str) -> bool:
    """Whether ``text`` is a number without a unit."""
    return _PLAIN.fullmatch(text) is not None


def parse_duration(value: object) -> float:
    """``value`` in seconds: text with units, or a plain number, which is seconds.

    Raises ValueError if it is neither, negative or not finite.
    """
    seconds = _seconds(value)
    if seconds is None or not math.isfinite(seconds) or seconds < 0:
        raise ValueError("is not a duration such as 500ms, 30s, 5m or 1h")
    return seconds


def _seconds(value: object) -> float | None:
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, str):
        return None
    text = value.strip().lower()
    if is_plain_number(text):
        return float(text)
    if _WHOLE.fullmatch(text) is None:
        return None
    return sum(float(number) * _MILLISECONDS[unit] for number, unit in _PART.findall(text)) / 1000


def format_duration(seconds: float) -> str:
    """``seconds`` in the largest unit that holds them in whole numbers; ``parse_duration`` reads it back."""
    milliseconds = round(seconds * 1000)
    if milliseconds == 0:
        return "0s"
    unit = next(unit for unit in ("d", "h", "m", "s", "ms") if milliseconds % _MILLISECONDS[unit] == 0)
    return f"{milliseconds // _MILLISECONDS[unit]}{unit}"


# The kinds of value.


def _matching(pattern: str, what: str) -> AfterValidator:
    compiled = re.compile(pattern)

    def check(value: str) -> str:
        if compiled.fullmatch(value) is None:
            raise ValueError(f"must be {what}")
        return value

    return AfterValidator(check)


def _lower(value: object) -> object:
    return value.strip().lower() if isinstance(value, str) else value


def _check_web_address(value: str) -> str:
    try:
        parts = urlsplit(value)
        place = bool(parts.hostname) and parts.port != 0 and "@" not in parts.netloc
        usable = place and parts.scheme in ("http", "https")
    except ValueError:
        usable = False
    if not usable or not value.isprintable() or " " in value:
        raise ValueError("must be an address such as https://example.com")
    return value.rstrip("/")


def _check_public_address(value: str) -> str:
    address = _check_web_address(value)
    parts = urlsplit(address)
    if (parts.scheme != "https" and not _is_loopback(parts.hostname or "")) or "?" in address or "#" in address:
        raise ValueError("must be an https address without ? and #, such as https://worker.example.com")
    return address


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def _check_secret(value: SecretStr) -> SecretStr:
    # A stray newline or space from copying would only show up later, as a refused request.
    if re.fullmatch(r"[!-~]+", value.get_secret_value()) is None:
        raise ValueError("must be printable ASCII without spaces: copy it again, without line breaks")
    return value


def _check_webhook_secret(value: SecretStr) -> SecretStr:
    head, _, key = value.get_secret_value().partition("_")
    try:
        usable = head == "whsec" and len(base64.b64decode(key, validate=True)) >= 16
    except binascii.Error:
        usable = False
    if not usable:
        raise ValueError("must be a webhook's signing secret, whsec_ and base64: copy all of it again")
    return value


def _split_keys(value: object) -> object:
    """Comma separated keys, each once, in their order."""
    if isinstance(value, str):
        return tuple(dict.fromkeys(key.strip() for key in value.split(",") if key.strip()))
    return value


def _split_secrets(value: object) -> object:
    """As keys; but commas alone are no way to say that there is none."""
    return (_split_keys(value) or (value,)) if isinstance(value, str) else value


def _retention(value: float) -> float:
    if 0 < value < 3600:
        raise ValueError("must be 0 (keep for ever) or at least 1h, such as 90d; a plain number is seconds")
    return value


DURATION = BeforeValidator(parse_duration)
"""Marks a float as seconds that were written as a duration."""

Duration = Annotated[float, DURATION]
Retention = Annotated[float, DURATION, AfterValidator(_retention)]
Factor = Annotated[float, Field(allow_inf_nan=False)]
Secret = Annotated[SecretStr, AfterValidator(_check_secret)]
Keys = Annotated[tuple[Secret, ...], BeforeValidator(_split_keys)]
WebhookSecret = Annotated[Secret, AfterValidator(_check_webhook_secret)]
WebhookSecrets = Annotated[tuple[WebhookSecret, ...], BeforeValidator(_split_secrets)]
WebAddress = Annotated[str, AfterValidator(_check_web_address)]
PublicAddress = Annotated[str, AfterValidator(_check_public_address)]
WorkerId = Annotated[str, _matching(r"[!-~]{1,100}", "1 to 100 printable ASCII characters without spaces")]
SchemaName = Annotated[str, _matching(SCHEMA_NAME.pattern, SCHEMA_RULE)]
Bucket = Annotated[str, _matching(r"[A-Za-z0-9][A-Za-z0-9._-]{1,62}", "a bucket's name, not its address")]
AccountId = Annotated[str, _matching(r"[A-Za-z0-9-]{1,64}", "the account's id, not an address")]
Region = Annotated[str, _matching(r"[a-z0-9-]{1,40}", "a region such as us-east-1")]
ModelName = Annotated[str, _matching(r"[A-Za-z0-9][A-Za-z0-9._/-]{0,199}", "a model's name")]
ReplicateModel = Annotated[
    str, _matching(r"[\w.-]{1,100}/[\w.-]{1,100}(?::[0-9a-f]{1,64})?", "a model as owner/name or owner/name:version")
]
ApiVersion = Annotated[str, _matching(r"v[0-9]+[a-z0-9]*", "an API version such as v1beta")]
LogLevel = Annotated[Literal["debug", "info", "warning", "error", "critical"], BeforeValidator(_lower)]
LogFormat = Annotated[Literal["auto", "json", "console"], BeforeValidator(_lower)]
