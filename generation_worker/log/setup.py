"""Structured logs: one line for each event on stderr, as JSON or for a terminal. Data goes to stdout.

Events of this package and records of libraries take the same way: the attempt's names are added, secrets are redacted,
values are cleaned and bounded, and one writer writes the line.
"""

from __future__ import annotations

import logging
import math
import os
import re
import sys
import threading
from collections.abc import Callable, Mapping, Sequence, Set
from functools import lru_cache
from types import TracebackType
from typing import Any, Literal, TextIO, cast
from weakref import WeakSet

import structlog
from structlog.dev import ConsoleRenderer
from structlog.processors import ExceptionRenderer, JSONRenderer, TimeStamper, add_log_level, format_exc_info
from structlog.stdlib import ProcessorFormatter, add_logger_name
from structlog.tracebacks import ExceptionDictTransformer
from structlog.typing import EventDict, FilteringBoundLogger, Processor, WrappedLogger

from generation_worker.log.redaction import HIDDEN, hide_secrets, is_secret_key, redact

__all__ = ["Format", "Logger", "configure", "get_logger", "hide_secrets"]

Format = Literal["auto", "json", "console"]
Logger = FilteringBoundLogger

ATTEMPT_NAMES = "attempt_names"
"""The context variable with a function that returns the fields of the thread's attempt. A function, because most
attempts log nothing.
"""

_FIRST_KEYS = ("timestamp", "level", "event", "logger")

_VERBOSE_LIBRARIES = (
    *("asyncio", "boto3", "botocore", "google_genai", "httpcore", "httpcore2", "httpx", "httpx2"),
    *("PIL", "s3transfer", "urllib3"),
)
"""Libraries that log every request, at debug level with headers: only their warnings are logged."""

_WITH_HANDLERS = ("uvicorn", "uvicorn.access", "uvicorn.error", "alembic", "sqlalchemy")
"""Libraries that may have handlers of their own, which would bypass ours."""

_loggers: WeakSet[Any] = WeakSet()

TEXT_LIMIT = 2_000
"""Longest text of one value, in characters."""
TRACEBACK_LIMIT = 20_000
"""Longest traceback, in characters."""
KEY_LIMIT = 200
"""Longest name of a value, in characters."""
ITEMS_LIMIT = 50
"""Most items of one list or mapping."""
DEPTH_LIMIT = 8
"""Deepest nesting of lists and mappings."""

# C0 and C1 controls, line and paragraph separators, bidirectional controls, lone surrogates.
_UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]")
_UNSAFE_IN_LINES = re.compile(_UNSAFE.pattern.replace("\x00-\x1f", "\x00-\x09\x0b-\x1f"))


def get_logger(name: str) -> Logger:
    """A logger for the module ``name``. It can be created before ``configure``, and follows every call of it."""
    logger = structlog.get_logger(name)
    _loggers.add(logger)
    return cast(Logger, logger)


def configure(level: str = "info", format: Format = "auto", stream: TextIO | None = None) -> None:  # noqa: A002
    """Write all records of at least ``level`` to stderr or ``stream``, those of libraries too, in ``format``.

    ``level`` is debug, info, warning, error or critical. ``auto`` means console on a terminal, else JSON. Uncaught
    exceptions are logged as well. Raises KeyError for an unknown level.
    """
    target = stream if stream is not None else sys.stderr
    console = format == "console" or (format == "auto" and target.isatty())
    writer = LineWriter(stream)
    finish = _console(colors=target.isatty() and "NO_COLOR" not in os.environ) if console else _json()
    _configure_structlog(level, writer, finish)
    _configure_libraries(level, writer, finish)
    _report_uncaught()


def _configure_structlog(level: str, writer: LineWriter, finish: Sequence[Processor]) -> None:
    def line_logger(*names: str) -> LineLogger:
        return LineLogger(writer, names[0] if names else None)

    structlog.configure(
        processors=[*_common(), *finish],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=line_logger,
        cache_logger_on_first_use=True,
    )
    for logger in _loggers:
        # A cached logger would keep the level and the stream of its first use.
        cast(dict[str, Any], vars(logger)).pop("bind", None)


def _configure_libraries(level: str, writer: LineWriter, finish: Sequence[Processor]) -> None:
    handler = LineHandler(writer)
    strip = ProcessorFormatter.remove_processors_meta
    handler.setFormatter(ProcessorFormatter(processors=[strip, *finish], foreign_pre_chain=_common()))
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level.upper())
    for name in _WITH_HANDLERS:
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [], True
    for name in _VERBOSE_LIBRARIES:
        logging.getLogger(name).setLevel(max(root.level, logging.WARNING))
    logging.captureWarnings(True)


def _common() -> list[Processor]:
    """The processors for all events, ours and the libraries'."""
    merge = structlog.contextvars.merge_contextvars
    return [merge, _name_attempt, add_log_level, _name_logger, TimeStamper(fmt="iso", utc=True)]


def _json() -> list[Processor]:
    exceptions = ExceptionRenderer(ExceptionDictTransformer(show_locals=False, max_frames=30))
    return [exceptions, _clean, JSONRenderer(ensure_ascii=False)]


def _console(*, colors: bool) -> list[Processor]:
    # The traceback is rendered before cleaning: the console renderer would add it uncleaned.
    return [format_exc_info, _clean, ConsoleRenderer(colors=colors, sort_keys=False, pad_event_to=28)]


def _name_attempt(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    names: Callable[[], EventDict] | None = event.pop(ATTEMPT_NAMES, None)
    return event if names is None else {**names(), **event}


def _name_logger(logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
    return add_logger_name(logger, method, event) if "_record" in event or getattr(logger, "name", None) else event


def _clean(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Redact, escape and bound all values; put the keys that every line has first."""
    ordered = {key: event.pop(key) for key in _FIRST_KEYS if key in event} | dict(event)
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


def clean_text(text: str, limit: int = TEXT_LIMIT) -> str:
    """``text`` on one line."""
    return _UNSAFE.sub(_escape, _clip(_hide(text, limit), limit))


def clean_lines(text: str, limit: int = TRACEBACK_LIMIT) -> str:
    """``text`` with its line breaks, each line indented, so that none can look like a line of the log."""
    safe = _UNSAFE_IN_LINES.sub(_escape, _clip(_hide(text.replace("\t", "    "), limit), limit))
    return "\n".join(f"    {line}" for line in safe.split("\n"))


def clean_value(value: Any, depth: int = DEPTH_LIMIT) -> Any:
    """``value`` as a JSON value; other types become text. Never raises."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return clean_text(str(value))
    if isinstance(value, (int, float)):
        return _clean_number(value)
    if isinstance(value, (bytes, bytearray, memoryview)):
        return f"<{len(cast(bytes, value))} bytes>"
    if isinstance(value, (Mapping, Sequence, Set)):
        return _clean_collection(cast(Any, value), depth - 1)
    return clean_text(_text_of(value))


@lru_cache(maxsize=1024)
def clean_key(key: str) -> str:
    """``key`` cleaned; cached, because events share few keys."""
    return clean_text(key, KEY_LIMIT)


def clean_entry(key: str, value: Any, depth: int = DEPTH_LIMIT) -> Any:
    """``value`` of a mapping, redacted completely if its key is that of a secret."""
    return HIDDEN if value and is_secret_key(key) else clean_value(value, depth)


def _clean_number(value: float) -> Any:
    if isinstance(value, int):
        return int(value) if abs(value) < 2**63 else "<large number>"
    return float(value) if math.isfinite(value) else str(float(value))


def _clean_collection(value: Mapping[Any, Any] | Sequence[Any] | Set[Any], depth: int) -> Any:
    if depth <= 0:
        return "…"
    try:
        if isinstance(value, Mapping):
            return _clean_mapping(value, depth)
        return [clean_value(item, depth) for item in _first(value)] + _rest(value)
    except Exception:  # noqa: BLE001 - an unusual collection must not cost the line or the job that logs it
        return _unprintable(value)


def _clean_mapping(value: Mapping[Any, Any], depth: int) -> dict[str, Any]:
    cleaned: dict[str, Any] = {}
    for key in _first(value):
        name = clean_text(_text_of(key), KEY_LIMIT)
        cleaned[name] = clean_entry(name, value[key], depth)
    return cleaned | ({"…": f"{len(value) - ITEMS_LIMIT} more"} if len(value) > ITEMS_LIMIT else {})


def _first(items: Any) -> list[Any]:
    return [item for item, _ in zip(items, range(ITEMS_LIMIT), strict=False)]


def _rest(items: Any) -> list[str]:
    return [f"… {len(items) - ITEMS_LIMIT} more"] if len(items) > ITEMS_LIMIT else []


def _text_of(value: object) -> str:
    try:
        return str(value)
    except Exception:  # noqa: BLE001 - as above
        return _unprintable(value)


def _unprintable(value: object) -> str:
    return f"<unprintable {type(value).__name__}>"


def _hide(text: str, limit: int) -> str:
    """Redact secrets before the text is cut, so that no part of one remains."""
    return redact(text[: 2 * limit + 2_000])


def _clip(text: str, limit: int) -> str:
    return text if len(text) <= limit else f"{text[: limit - 1]}…"


def _escape(match: re.Match[str]) -> str:
    return match.group().encode("unicode_escape").decode()


class LineWriter:
    """Writes whole lines to one stream, from any thread. A stream that is gone does not stop the worker."""

    def __init__(self, stream: TextIO | None) -> None:
        self.stream = stream
        self._lock = threading.Lock()

    def write(self, line: str) -> None:
        stream = self.stream if self.stream is not None else sys.stderr
        with self._lock:
            try:
                stream.write(line + "\n")
                stream.flush()
            except (OSError, ValueError):
                return


class LineLogger:
    """The logger below structlog's: it has a name and writes lines."""

    def __init__(self, writer: LineWriter, name: str | None) -> None:
        self.name = name
        self.msg = writer.write

    def __getattr__(self, level: str) -> object:
        """``info``, ``error`` and so on: the line already contains the level."""
        if level.startswith("_"):
            raise AttributeError(level)
        return self.msg


class LineHandler(logging.Handler):
    """Writes the records of libraries through the same writer."""

    def __init__(self, writer: LineWriter) -> None:
        super().__init__()
        self._writer = writer

    def emit(self, record: logging.LogRecord) -> None:
        try:
            line = self.format(record)
        except Exception:  # noqa: BLE001 - logging's own report would show the record with its secrets
            line = self.format(_replacement(record))
        self._writer.write(line)


def _replacement(record: logging.LogRecord) -> logging.LogRecord:
    message = f"a log record could not be formatted: {record.pathname}:{record.lineno}"
    return logging.makeLogRecord(
        {"name": record.name, "levelno": record.levelno, "levelname": record.levelname, "msg": message}
    )
