"""How much one image may cost, and which formats are let in. Known to both sides of the pipe."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

MB = 1024 * 1024
OUT_OF_MEMORY = 12
"""Exit code of a child that reached its memory limit (errno's ENOMEM)."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What one operation on one image may use.

    ``max_pixels`` counts width × height, of the input and of every output. ``max_bytes`` is the size of the
    input file. ``memory`` is the address space of the process that decodes, in bytes. ``seconds`` bounds
    both the wall time and the CPU time of an operation.
    """

    max_pixels: int = 50_000_000
    max_bytes: int = 50 * MB
    memory: int = 1024 * MB
    seconds: float = 30.0

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Limits:
        return cls(**json.loads(text))


DEFAULTS = Limits()
