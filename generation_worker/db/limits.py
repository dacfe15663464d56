"""How long the server lets a statement wait and run: what a person holds in psql must not hold up a worker for ever."""

from __future__ import annotations

from dataclasses import dataclass

LOCK = 5.0
"""Seconds. Among ourselves locks are held for milliseconds."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Seconds, counted by the server. What it ends has changed nothing, and may be sent again."""

    lock: float = LOCK
    """That a statement waits for a lock."""
    statement: float = 30.0
    """That it takes in all."""
    idle: float = 30.0
    """That a transaction may hold its locks and say nothing."""

    @classmethod
    def sharing(cls, seconds: float, *, statements: int) -> Limits:
        """For so many statements that follow each other and must be over in ``seconds``."""
        each = seconds / statements
        return cls(lock=min(LOCK, each * 0.8), statement=each)

    def for_session(self) -> bytes:
        """Holds for all statements of a session, which has to be our own."""
        return "; ".join(f"SET {name} = {value}" for name, value in self._milliseconds().items()).encode()

    def for_transaction(self) -> bytes:
        """Holds until the end of the transaction: through a pooler any other setting would stay for whoever comes next.

        Without the limit on silence, which the server begins to count only between transactions' statements: the
        pooler ends a transaction whose client is gone.
        """
        values = self._milliseconds()
        del values["idle_in_transaction_session_timeout"]
        return ("SELECT " + ", ".join(f"set_config('{n}', '{v}', true)" for n, v in values.items())).encode()

    def _milliseconds(self) -> dict[str, int]:
        seconds = {
            "lock_timeout": self.lock,
            "statement_timeout": self.statement,
            "idle_in_transaction_session_timeout": self.idle,
        }
        return {name: max(1, round(value * 1000)) for name, value in seconds.items()}  # 0 would mean without a limit
