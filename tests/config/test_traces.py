"""When spans are sent, and where: as OpenTelemetry's own variables say."""

from __future__ import annotations

import pytest

from generation_worker.config import load_settings
from generation_worker.config.table import describe

ENDPOINT, TRACES_ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"
EXPORTER, PROTOCOL = "OTEL_TRACES_EXPORTER", "OTEL_EXPORTER_OTLP_PROTOCOL"
HEADERS, TRACES_HEADERS = "OTEL_EXPORTER_OTLP_HEADERS", "OTEL_EXPORTER_OTLP_TRACES_HEADERS"
HERE = "http://localhost:4318"


@pytest.mark.parametrize(
    ("environ", "address"),
    [
        ({ENDPOINT: f"{HERE}/"}, f"{HERE}/v1/traces"),
        ({TRACES_ENDPOINT: "http://c/mine"}, "http://c/mine"),
        ({ENDPOINT: HERE, TRACES_ENDPOINT: "http://c/mine"}, "http://c/mine"),
        ({ENDPOINT: HERE, EXPORTER: "console,otlp"}, f"{HERE}/v1/traces"),
        ({EXPORTER: "otlp"}, None),
    ],
)
def test_spans_are_sent(environ: dict[str, str], address: str | None) -> None:
    settings = load_settings(environ)
    assert (settings.sends_traces, settings.traces_address) == (True, address)
    assert [notice for notice in settings.notices if "OTEL" in notice] == []


@pytest.mark.parametrize(
    ("environ", "notice"),
    [
        ({}, None),
        ({EXPORTER: "none"}, None),
        ({ENDPOINT: HERE, EXPORTER: "none"}, None),
        ({ENDPOINT: HERE, "OTEL_SDK_DISABLED": "true"}, None),
        ({ENDPOINT: HERE, PROTOCOL: "grpc", "OTEL_SDK_DISABLED": "true"}, None),
        ({PROTOCOL: "grpc"}, None),
        ({ENDPOINT: HERE, EXPORTER: "zipkin"}, "OTEL_TRACES_EXPORTER: only otlp and none are supported, not 'zipkin'"),
        ({ENDPOINT: HERE, PROTOCOL: "grpc"}, "OTEL_EXPORTER_OTLP_PROTOCOL: only http/protobuf is supported"),
    ],
)
def test_no_spans_are_sent(environ: dict[str, str], notice: str | None) -> None:
    settings = load_settings(environ)
    assert not settings.sends_traces
    found = [each for each in settings.notices if "OTEL" in each]
    assert len(found) == (notice is not None)
    assert "".join(found).startswith(notice or "")


def test_other_variables_of_opentelemetry_are_not_misspelt() -> None:
    notices = load_settings({"OTEL_EXPORTER_OTLP_HEADER": "x", "OTEL_LOGS_EXPORTER": "otlp"}).notices
    assert [notice for notice in notices if "OTEL" in notice] == []


def test_headers_are_secrets_as_a_whole_and_each() -> None:
    given = "Api-Key=abcdefgh, authorization=Bearer%20zyxwvuts,,=nothing"
    settings = load_settings({HEADERS: given})
    assert settings.traces_headers == {"api-key": "abcdefgh", "authorization": "Bearer zyxwvuts"}
    assert {given, "abcdefgh", "Bearer zyxwvuts"} <= set(settings.secret_values())
    assert all(secret not in str(describe(settings)) for secret in ("abcdefgh", "zyxwvuts"))


def test_headers_for_traces_replace_those_for_everything() -> None:
    assert load_settings({HEADERS: "a=1,b=2", TRACES_HEADERS: "a=3"}).traces_headers == {"a": "3"}
