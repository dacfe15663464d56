"""Keys of the HTTP API: what they look like, and what they allow. What is stored of one cannot be used as one."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection
from typing import Literal, NamedTuple, get_args

Scope = Literal["enqueue", "read", "operate", "admin"]
SCOPES: tuple[Scope, ...] = get_args(Scope)
OF_ONE_USER: frozenset[Scope] = frozenset({"enqueue", "read"})
"""What a key may be for that is bound to one user; the others are about everybody."""

PREFIX = "gw_live_"
"""Tells a scanner for leaked secrets whose key it has found."""
ID_LENGTH = 12
SECRET_BYTES = 32
LARGEST_JSON_KB = 1024
"""Of JSON nobody may send more, whatever the key says: all of it is read before anything is known of it."""
LARGEST_BODY_KB = 50 * 1024
"""The most that a key may say: as large as an uploaded image may be at all."""
_KEY = re.compile(rf"{PREFIX}(?P<id>[0-9a-z]{{{ID_LENGTH}}})_(?P<secret>[0-9a-f]{{{2 * SECRET_BYTES}}})")


class Presented(NamedTuple):
    """A key as somebody shows it."""

    id: str
    secret_hash: bytes


class Token(NamedTuple):
    """A key as it is stored."""

    id: str
    name: str
    secret_hash: bytes
    scopes: list[Scope]
    user_id: str | None
    """The only user that the key may see and act for; None: every user."""
    requests_per_minute: int | None
    """None: as the settings say; so too for the two others."""
    most_waiting: int | None
    max_body_kb: int | None
    usable: bool
    """Neither revoked nor expired."""
    use_untold: bool
    """Its last use has not been written for a minute."""


def write_key(token_id: str, secret: bytes) -> str:
    return f"{PREFIX}{token_id}_{secret.hex()}"


def read_key(text: str) -> Presented | None:
    """None if it is no key of ours."""
    found = _KEY.fullmatch(text)
    return Presented(found["id"], hash_secret(bytes.fromhex(found["secret"]))) if found else None


def hash_secret(secret: bytes) -> bytes:
    """32 random bytes cannot be guessed, so a quick hash is as good as a slow one."""
    return hashlib.sha256(secret).digest()


def allows(scopes: Collection[Scope], scope: Scope) -> bool:
    """``admin`` allows everything; the others nothing but themselves."""
    return scope in scopes or "admin" in scopes
