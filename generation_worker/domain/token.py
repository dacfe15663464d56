"""API keys: their format, their scopes, and the hash that is stored instead of the key."""

import hashlib
import re
from collections.abc import Collection
from typing import Literal, NamedTuple, get_args

Scope = Literal["enqueue", "read", "operate", "admin"]
SCOPES: tuple[Scope, ...] = get_args(Scope)
ONE_USER_SCOPES: frozenset[Scope] = frozenset({"enqueue", "read"})
"""Scopes that a key bound to one user may have; the other scopes cover all users."""

PREFIX = "gw_live_"
"""Shows scanners for leaked secrets which service a key belongs to."""
ID_LENGTH = 12
SECRET_BYTES = 32
LARGEST_JSON_KB = 1024
"""The largest JSON body, whatever limit a key has: a JSON body is read whole before it is checked."""
LARGEST_BODY_KB = 50 * 1024
"""The highest limit that a key may have: the largest size that can be allowed for an uploaded image."""
_KEY = re.compile(rf"{PREFIX}(?P<id>[0-9a-z]{{{ID_LENGTH}}})_(?P<secret>[0-9a-f]{{{2 * SECRET_BYTES}}})")


class PresentedKey(NamedTuple):
    """A key as a request presents it."""

    id: str
    secret_hash: bytes


class Token(NamedTuple):
    """A key as it is stored, with what a request has to be checked against."""

    id: str
    name: str
    secret_hash: bytes
    scopes: list[Scope]
    user_id: str | None
    """The only user that the key may see and act for; None: every user."""
    requests_per_minute: int | None
    """None: the limit of the settings; the same holds for the two fields below."""
    most_waiting: int | None
    max_body_kb: int | None
    usable: bool
    """Neither revoked nor expired."""
    use_unrecorded: bool
    """Its last use was recorded more than a minute ago, or never."""


def write_key(token_id: str, secret: bytes) -> str:
    return f"{PREFIX}{token_id}_{secret.hex()}"


def read_key(text: str) -> PresentedKey | None:
    """None if ``text`` does not have the format of a key."""
    found = _KEY.fullmatch(text)
    return PresentedKey(found["id"], hash_secret(bytes.fromhex(found["secret"]))) if found else None


def hash_secret(secret: bytes) -> bytes:
    """32 random bytes cannot be guessed, so a fast hash is as safe as a slow one."""
    return hashlib.sha256(secret).digest()


def allows(scopes: Collection[Scope], scope: Scope) -> bool:
    """``admin`` allows everything; any other scope allows only itself."""
    return scope in scopes or "admin" in scopes
