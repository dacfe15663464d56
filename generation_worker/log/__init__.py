"""Logs: one line for each event on stderr, as JSON or for a terminal. Data goes to stdout."""

from generation_worker.log.redaction import hide_secrets
from generation_worker.log.setup import Format, Logger, configure, get_logger

__all__ = ["Format", "Logger", "configure", "get_logger", "hide_secrets"]
