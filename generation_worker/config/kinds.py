"""The kinds of value that a setting can have. Each refuses with words that follow the variable's name.

A validator here says what a value must be and never repeats it: it may be a secret.
"""

from __future__ import annotations

import base64
import binascii
import re
from ipaddress import ip_address
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr

from generation_worker.config.durations import parse_duration


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
