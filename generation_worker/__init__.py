"""Turns rows of a Postgres table into images.

What an app needs to enqueue is here: ``from generation_worker import enqueue``. It is loaded when it is first used, so
that the name of the package alone costs nothing.
"""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_EXPORTS = {
    "EnqueueRequest": "generation_worker.db.enqueue",
    "EnqueuedJob": "generation_worker.db.enqueue",
    "cancel": "generation_worker.db.enqueue",
    "enqueue": "generation_worker.db.enqueue",
    "enqueue_many": "generation_worker.db.enqueue",
    "replay": "generation_worker.db.enqueue",
    "adjust_credits": "generation_worker.db.credits",
    "grant_credits": "generation_worker.db.credits",
    "EnqueueRefused": "generation_worker.domain.refusals",
    "IdempotencyConflict": "generation_worker.domain.refusals",
    "InputGone": "generation_worker.domain.refusals",
    "InsufficientCredits": "generation_worker.domain.refusals",
    "InvalidRequest": "generation_worker.domain.refusals",
    "JobNotFound": "generation_worker.domain.refusals",
    "JobNotReplayable": "generation_worker.domain.refusals",
    "InvalidPayload": "generation_worker.domain.errors",
}
"""Name → the module that has it. __init__.pyi says the same to type checkers."""


def __getattr__(name: str) -> Any:
    if name not in _EXPORTS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_EXPORTS[name]), name)
