"""The settings of a worker: read once, all faults reported together, then passed on as values."""

from generation_worker.config.database import DatabaseAddress, parse_database_url
from generation_worker.config.kinds import ConfigurationError, format_duration, parse_duration
from generation_worker.config.load import examine_settings, load_settings
from generation_worker.config.settings import Settings
from generation_worker.config.table import DescribedSetting, describe, environment_table, example_file

__all__ = [
    "ConfigurationError",
    "DatabaseAddress",
    "DescribedSetting",
    "Settings",
    "describe",
    "environment_table",
    "examine_settings",
    "example_file",
    "format_duration",
    "load_settings",
    "parse_database_url",
    "parse_duration",
]
