"""A provider that needs no key and no network: it draws the prompt on the CPU, and says that it is not AI."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from generation_worker.domain.errors import ProviderRejected
from generation_worker.domain.finding import Verdict, ok, warning
from generation_worker.ports import Control, Generated, GenerationRequest
from generation_worker.providers.local_faults import Fault

SIDES = {"512": 512, "1K": 1024, "2K": 2048, "4K": 4096}
"""Longest side of each image size, in pixels."""
SHORTEST = 16


class LocalProvider:
    """Draws pictures; the same request gives the same bytes. Safe to use from many threads at once.

    ``delay`` is how long a call takes beyond the drawing, in seconds, so that queues and progress can be watched;
    ``jitter`` (0 to 1) makes it longer or shorter by up to that share. ``faults`` are what goes wrong.
    """

    name = "local"
    key_label = "local"
    model = "local-preview"

    def __init__(self, *, delay: float = 0.0, jitter: float = 0.0, faults: Sequence[Fault] = ()) -> None:
        if delay < 0 or not 0 <= jitter <= 1:
            raise ValueError("delay must not be negative, and jitter lies between 0 and 1")
        self._delay = delay
        self._jitter = jitter
        self._faults = tuple(faults)

    def warm_up(self) -> None:
        """Load the drawing library and its font."""
        from generation_worker.providers import local_drawing  # noqa: PLC0415 - only who draws loads it

        local_drawing.warm_up()

    def generate(self, request: GenerationRequest, control: Control) -> Generated:
        """A picture of the prompt and the images. Raises what its faults say, and ProviderRejected for a bad size."""
        control.check()
        size = _size(request)
        self._wait(request, control)
        data = self._struck(request, control) or _draw(request, size)
        control.check()
        return Generated(data, self.model, usage={"pixels": size[0] * size[1]})

    def check(self, *, seconds: float) -> Verdict:  # noqa: ARG002 - it asks nobody
        """Draw something: the drawing library and its font may be missing or broken."""
        _draw(GenerationRequest("doctor", 1, "doctor"), (SHORTEST, SHORTEST))
        if self._faults:
            return warning("draws the prompt, and plays the faults that it was told to", "Remove LOCAL_FAULTS")
        return ok("draws the prompt on the CPU: no key, no network, no AI")

    def _wait(self, request: GenerationRequest, control: Control) -> None:
        if self._delay:
            control.pause(self._delay * (1 + self._jitter * _spread(request)))

    def _struck(self, request: GenerationRequest, control: Control) -> bytes | None:
        """The answer of the first fault that applies, unless it only delays."""
        for fault in self._faults:
            if fault.applies(request.prompt, request.attempt):
                return fault.strike(control)
        return None


def _draw(request: GenerationRequest, size: tuple[int, int]) -> bytes:
    from generation_worker.providers import local_drawing  # noqa: PLC0415 - only who draws loads it

    return local_drawing.draw(request.prompt, request.images, size)


def _size(request: GenerationRequest) -> tuple[int, int]:
    """Width and height in pixels. Raises ProviderRejected."""
    side = SIDES.get(request.image_size or "512")
    across, _, down = (request.aspect_ratio or "1:1").partition(":")
    if side is None or not (across.isdecimal() and down.isdecimal() and int(across) and int(down)):
        raise ProviderRejected(f"no such size or aspect ratio: {request.image_size}, {request.aspect_ratio}")
    scale = side / max(int(across), int(down))
    return max(SHORTEST, round(int(across) * scale)), max(SHORTEST, round(int(down) * scale))


def _spread(request: GenerationRequest) -> float:
    """A number from -1 to 1 that belongs to this attempt."""
    digest = hashlib.blake2b(f"{request.job_id}/{request.attempt}".encode(), digest_size=4).digest()
    return int.from_bytes(digest) / (2**31 - 0.5) - 1
