"""A notice: a provider's word, by webhook, that a call may have ended. It is a hint to look, and never an answer."""

from __future__ import annotations

import hashlib
import re
from typing import NamedTuple, Self

REF = re.compile(r"[!-~]{1,200}")
"""An id that a provider gives a call: printable ASCII without spaces. It travels in a message, before a space."""
MESSAGE = re.compile(rf"call ({REF.pattern}) ([0-9a-f]{{16}})")


class Notice(NamedTuple):
    """``ref`` is the provider's id of the call; ``id`` tells this notice from others, however often it comes."""

    ref: str
    id: str

    @classmethod
    def of(cls, ref: str, delivery: str) -> Self:
        """The notice under ``delivery``, the name that the provider gave it, as long and strange as it may be.

        Raises ValueError if ``ref`` is no id of a call.
        """
        if REF.fullmatch(ref) is None:
            raise ValueError("no id of a call")
        return cls(ref, hashlib.sha256(delivery.encode()).hexdigest()[:16])

    @classmethod
    def read(cls, message: str) -> Self | None:
        """The notice in a message to the fleet; None if it holds none."""
        found = MESSAGE.fullmatch(message)
        return cls(*found.groups()) if found else None

    @property
    def message(self) -> str:
        """What the fleet is told. Workers that do not know such messages ignore them."""
        return f"call {self.ref} {self.id}"


class NoticeRefused(Exception):
    """What claims to be a notice is none; nothing follows from it. The message says why, without anything of it."""

    code = "invalid_body"


class SignatureInvalid(NoticeRefused):
    """It is not signed by the provider, or not now: anybody may have sent it."""

    code = "invalid_signature"
