"""Puts the pieces together: what happens to an event between ``log.info`` and its line."""

from __future__ import annotations

import logging
import os
import sys
import threading
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, Literal, TextIO, cast
from weakref import WeakSet

import structlog
from structlog.dev import ConsoleRenderer
from structlog.processors import ExceptionRenderer, JSONRenderer, TimeStamper, add_log_level, format_exc_info
from structlog.stdlib import ProcessorFormatter, add_logger_name
from structlog.tracebacks import ExceptionDictTransformer
from structlog.typing import EventDict, FilteringBoundLogger, Processor, WrappedLogger

from generation_worker.log.lines import LineHandler, LineWriter, NamedLines
from generation_worker.log.values import clean_entry, clean_key, clean_lines

Format = Literal["auto", "json", "console"]
Logger = FilteringBoundLogger

AT_WORK = "at_work"
"""The context variable with what gives the names of the attempt that a thread is at. Most attempts log nothing: their
names are put together for a line, not for each of them.
"""

_HEAD = ("timestamp", "level", "event", "logger")

_TALKATIVE = (
    *("asyncio", "boto3", "botocore", "google_genai", "httpcore", "httpcore2", "httpx", "httpx2"),
    *("PIL", "s3transfer", "urllib3"),
)
"""Libraries that log every request, with headers when they debug: of them, only warnings."""

_HAVE_HANDLERS = ("uvicorn", "uvicorn.access", "uvicorn.error", "alembic", "sqlalchemy")
"""Libraries that may have handlers of their own, which would write past ours."""

_loggers: WeakSet[Any] = WeakSet()


def get_logger(name: str) -> Logger:
    """A logger for the module ``name``. May be made before ``configure``; follows every call of it."""
    logger = structlog.get_logger(name)
    _loggers.add(logger)
    return cast(Logger, logger)


def configure(level: str = "info", format: Format = "auto", stream: TextIO | None = None) -> None:  # noqa: A002
    """Send everything from ``level`` on to stderr (or ``stream``), from libraries too, in ``format``.

    ``level`` is debug, info, warning, error or critical. auto means console on a terminal and JSON
    otherwise. Uncaught exceptions become lines as well. Raises KeyError for an unknown level.
    """
    target = stream if stream is not None else sys.stderr
    console = format == "console" or (format == "auto" and target.isatty())
    writer = LineWriter(stream)
    finish = _console(colors=target.isatty() and "NO_COLOR" not in os.environ) if console else _json()
    _configure_structlog(level, writer, finish)
    _configure_libraries(level, writer, finish)
    _report_uncaught()


def _configure_structlog(level: str, writer: LineWriter, finish: Sequence[Processor]) -> None:
    def named(*names: str) -> NamedLines:
        return NamedLines(writer, names[0] if names else None)

    structlog.configure(
        processors=[*_common(), *finish],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=named,
        cache_logger_on_first_use=True,
    )
    for logger in _loggers:
        # A cached logger would keep the level and the stream that it met first.
        cast(dict[str, Any], vars(logger)).pop("bind", None)


def _configure_libraries(level: str, writer: LineWriter, finish: Sequence[Processor]) -> None:
    handler = LineHandler(writer)
    strip = ProcessorFormatter.remove_processors_meta
    handler.setFormatter(ProcessorFormatter(processors=[strip, *finish], foreign_pre_chain=_common()))
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level.upper())
    for name in _HAVE_HANDLERS:
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [], True
    for name in _TALKATIVE:
        logging.getLogger(name).setLevel(max(root.level, logging.WARNING))
    logging.captureWarnings(True)


def _common() -> list[Processor]:
    """What every event gets, ours and the libraries'."""
    merge = structlog.contextvars.merge_contextvars
    return [merge, _name_attempt, add_log_level, _name_logger, TimeStamper(fmt="iso", utc=True)]


def _json() -> list[Processor]:
    exceptions = ExceptionRenderer(ExceptionDictTransformer(show_locals=False, max_frames=30))
    return [exceptions, _clean, JSONRenderer(ensure_ascii=False)]


def _console(*, colors: bool) -> list[Processor]:
    # The traceback is text before it is cleaned: a renderer that made it would write past the cleaning.
    return [format_exc_info, _clean, ConsoleRenderer(colors=colors, sort_keys=False, pad_event_to=28)]


def _name_attempt(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    names: Callable[[], EventDict] | None = event.pop(AT_WORK, None)
    return event if names is None else {**names(), **event}


def _name_logger(logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
    return add_logger_name(logger, method, event) if "_record" in event or getattr(logger, "name", None) else event


def _clean(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """No secrets, no control characters, no endless values; what every line has comes first."""
    ordered = {key: event.pop(key) for key in _HEAD if key in event} | dict(event)
    return {clean_key(key): _clean_field(key, value) for key, value in ordered.items()}


def _clean_field(key: str, value: Any) -> Any:
    if key in ("timestamp", "level"):
        return value
    lines = key in ("exception", "stack") and isinstance(value, str)
    return clean_lines(value) if lines else clean_entry(key, value)


_uncaught = get_logger("generation_worker")


def _report_uncaught() -> None:
    def in_main(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        if issubclass(kind, KeyboardInterrupt):
            sys.__excepthook__(kind, error, trace)
        else:
            _uncaught.critical("uncaught exception", exc_info=(kind, error, trace))

    def in_thread(args: threading.ExceptHookArgs) -> None:
        thread = args.thread.name if args.thread is not None else None
        if args.exc_value is not None and not issubclass(args.exc_type, SystemExit):
            _uncaught.critical("uncaught exception", thread=thread, exc_info=args.exc_value)

    sys.excepthook = in_main
    threading.excepthook = in_thread
