"""Where lines end up: one write for each, whichever thread and whichever library it comes from."""

from __future__ import annotations

import logging
import sys
import threading
from typing import TextIO


class LineWriter:
    """Writes whole lines to one stream. A stream that is gone must not take the worker with it."""

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


class NamedLines:
    """What a structlog logger writes to; carries the logger's name."""

    def __init__(self, writer: LineWriter, name: str | None) -> None:
        self.name = name
        self.msg = writer.write

    def __getattr__(self, level: str) -> object:
        """``info``, ``error`` and so on: the line already says which."""
        if level.startswith("_"):
            raise AttributeError(level)
        return self.msg


class LineHandler(logging.Handler):
    """Sends what libraries log through the same writer."""

    def __init__(self, writer: LineWriter) -> None:
        super().__init__()
        self._writer = writer

    def emit(self, record: logging.LogRecord) -> None:
        try:
            line = self.format(record)
        except Exception:  # noqa: BLE001 - logging's own report would show the record as it is, secrets included
            line = self.format(_stand_in(record))
        self._writer.write(line)


def _stand_in(record: logging.LogRecord) -> logging.LogRecord:
    message = f"a log record could not be formatted: {record.pathname}:{record.lineno}"
    return logging.makeLogRecord(
        {"name": record.name, "levelno": record.levelno, "levelname": record.levelname, "msg": message}
    )
