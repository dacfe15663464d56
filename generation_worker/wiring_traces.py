"""Puts together what sends spans, if OpenTelemetry's variables ask for it and its extra is installed."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from generation_worker import __version__
from generation_worker.config import Settings
from generation_worker.events import Events

if TYPE_CHECKING:
    from generation_worker.traces import Sender

LAST_SPANS = 5.0
"""Longest time, in seconds, that the end of the process waits for a collector."""


def build_sender(settings: Settings, notice: Callable[[str], None]) -> Sender | None:
    """None if nobody asks for spans, or if they cannot be sent, which is worth a notice and no reason to stop."""
    if not settings.sends_traces:
        return None
    asked = next(
        name for name in ("otel_traces_endpoint", "otel_endpoint", "otel_traces_exporter") if settings.is_set(name)
    )
    variable = settings.origins[asked].name
    try:
        from generation_worker.traces import Sender  # noqa: PLC0415 - an extra, and time that a worker without it saves

        return Sender(
            endpoint=settings.traces_address,
            headers=settings.traces_headers,
            service=settings.otel_service_name,
            version=__version__,
            worker=settings.worker_id,
        )
    except ImportError:
        notice(
            f"{variable}: no traces are sent, because OpenTelemetry is not installed: "
            "pip install 'generation-worker[otel]', or set OTEL_TRACES_EXPORTER=none"
        )
    except Exception as error:  # noqa: BLE001 - whatever is wrong with other OTEL_ variables must not stop jobs
        notice(f"{variable}: no traces are sent, because the environment's OTEL_ variables cannot be used: {error}")
    return None


@contextmanager
def traced(sender: Sender | None, events: Events) -> Generator[None]:
    """Make spans of the events while the block runs, and send the last ones at its end."""
    if sender is None:
        yield
        return
    from generation_worker.traces import tell_spans  # noqa: PLC0415 - as above

    tell_spans(events, sender.spans)
    try:
        yield
    finally:
        if not sender.close(within=LAST_SPANS):
            events.emit("traces.unsent", seconds=LAST_SPANS)
