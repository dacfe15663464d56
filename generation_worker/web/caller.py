"""Who calls, and what they may see."""

from __future__ import annotations

from dataclasses import dataclass

from generation_worker.domain.token import LARGEST_JSON_KB, SCOPES, Scope, Token, allows
from generation_worker.web.problems import Problem

KIB = 1024


@dataclass(frozen=True, slots=True)
class Caller:
    """Whoever is behind a request. Only their key says who they are, nothing that they send beside it."""

    name: str
    """For the record, such as ``key:4fz01kq8x2ab``."""
    scopes: frozenset[Scope]
    user_id: str | None
    """The only user that they see and act for; None: every user."""
    most_waiting: int
    """Jobs that a user for whom they enqueue may have waiting."""
    most_json: int
    """Bytes that JSON from them may have."""
    most_upload: int | None = None
    """Bytes that a file from them may have; None: as many as the route takes."""

    def may(self, scope: Scope) -> bool:
        return allows(self.scopes, scope)

    def acting_for(self, user_id: str | None) -> str | None:
        """The user meant by ``user_id``, as a request names one or not; None: none in particular.

        Raises Problem (404) if that is one whom they may not know of.
        """
        if self.user_id is None:
            return user_id
        if user_id not in (None, self.user_id):
            raise Problem(404, "user_not_found", "There is no such user.", field="user_id")
        return self.user_id


def caller_with(token: Token, *, most_waiting: int, most_json: int) -> Caller:
    """What the key says itself goes before what holds for those that say nothing."""
    own = None if token.max_body_kb is None else token.max_body_kb * KIB
    return Caller(
        f"key:{token.id}",
        frozenset(token.scopes),
        token.user_id,
        most_waiting if token.most_waiting is None else token.most_waiting,
        most_json if own is None else min(own, LARGEST_JSON_KB * KIB),
        own,
    )


def caller_on_loopback(*, most_waiting: int, most_json: int) -> Caller:
    """Whoever works on this machine, as long as there is no key."""
    return Caller("loopback", frozenset(SCOPES), None, most_waiting, most_json)
