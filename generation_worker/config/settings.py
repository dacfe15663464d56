"""The settings: one field for each, declared with its variable, its range, its default and its help.

Everything that names the settings is made from these declarations: loading and its messages,
``generation-worker config``, the README's table and ``.env.example``. Durations are float seconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, cast
from urllib.parse import unquote

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource

from generation_worker.config.adapter_settings import OTLP_HTTP, AdapterSettings
from generation_worker.config.database import DatabaseAddress, parse_database_url
from generation_worker.config.errors import ConfigurationError
from generation_worker.config.setting import Origin
from generation_worker.config.worker_settings import DATABASE_EXAMPLE


class Settings(AdapterSettings):
    """Every setting of a worker, checked. Made by ``load_settings``; nothing below the wiring sees it."""

    origins: Mapping[str, Origin] = Field(default_factory=dict[str, Origin], repr=False)
    """Field → where its value came from; a field that is not here has its default."""
    notices: list[str] = Field(default_factory=list[str])
    """What is worth knowing though nothing is wrong, one line each, never the value of a secret."""

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003 - the signature is pydantic's
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Only what is handed in: ``load_settings`` resolves names, aliases and units first."""
        return (init_settings,)

    @property
    def max_attempts(self) -> int:
        """Attempts of one job: the first and its retries."""
        return self.max_retries + 1

    @property
    def serves_http(self) -> bool:
        """Whether anybody but a provider is answered on the port."""
        return self.enable_health_check or self.enable_metrics or self.enable_api or self.enable_dashboard

    @property
    def storage(self) -> Literal["s3", "r2", "disk"]:
        """Where images are kept."""
        if self.s3_bucket is not None:
            return "s3"
        return "r2" if self.r2_bucket is not None else "disk"

    @property
    def asks_for_traces(self) -> bool:
        """Whether spans are to go to a collector, as OpenTelemetry's own variables say."""
        if self.otel_sdk_disabled:
            return False
        if self.otel_traces_exporter is None:
            return self.traces_address is not None
        return "otlp" in [name.strip() for name in self.otel_traces_exporter.split(",")]

    @property
    def sends_traces(self) -> bool:
        """Whether they are, and we can."""
        return self.asks_for_traces and self.otel_protocol == OTLP_HTTP

    @property
    def traces_address(self) -> str | None:
        """None: where OpenTelemetry looks by itself, on this machine."""
        below = f"{self.otel_endpoint}/v1/traces" if self.otel_endpoint else None
        return self.otel_traces_endpoint or below

    @property
    def traces_headers(self) -> dict[str, str]:
        """Headers for the collector. Their values are secrets."""
        given = self.otel_traces_headers or self.otel_headers
        pairs = [pair.partition("=") for pair in given.get_secret_value().split(",")] if given else []
        return {unquote(name.strip()).lower(): unquote(value.strip()) for name, _, value in pairs if name.strip()}

    def is_set(self, *fields: str) -> bool:
        """Whether any of ``fields`` was given a value, rather than left at its default."""
        return any(field in self.origins for field in fields)

    def require_database(self) -> DatabaseAddress:
        """The database. Raises ConfigurationError if no address is set."""
        if self.database_url is None:
            raise ConfigurationError(
                [f"DATABASE_URL is not set: give the address of the Postgres database, such as {DATABASE_EXAMPLE}"]
            )
        return parse_database_url(self.database_url.get_secret_value())

    def direct_database(self) -> DatabaseAddress | None:
        """The database without a pooler: DIRECT_URL, or DATABASE_URL if that is no pooler's address.

        None if there is none: then there is no LISTEN, and migrations go through the pooler.
        """
        return next((address for address in self.database_addresses().values() if not address.pooled), None)

    def database_addresses(self) -> dict[str, DatabaseAddress]:
        """Variable → address, for those that are set, the direct one first.

        Raises ConfigurationError if one cannot be read; ``load_settings`` has made sure that they can.
        """
        urls = {"DIRECT_URL": self.direct_url, "DATABASE_URL": self.database_url}
        return {name: parse_database_url(url.get_secret_value(), name) for name, url in urls.items() if url is not None}

    def secret_values(self) -> list[str]:
        """Every secret as plain text, passwords inside addresses too, so that logs can hide them."""
        values = [getattr(self, field) for field in type(self).model_fields]
        several = [each for value in values if isinstance(value, tuple) for each in cast("tuple[object, ...]", value)]
        plain = [value for value in [*values, *several] if isinstance(value, SecretStr)]
        headers = self.traces_headers.values()
        inside = [secret for address in self.database_addresses().values() for secret in address.secrets()]
        return list(dict.fromkeys([*[secret.get_secret_value() for secret in plain], *inside, *headers]))
