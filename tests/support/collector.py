"""A collector of OpenTelemetry's on loopback: takes OTLP over HTTP, and says which spans it was sent."""

from __future__ import annotations

import gzip
import threading
from collections.abc import Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

PATH = "/v1/traces"


@dataclass(frozen=True, slots=True)
class SentSpan:
    """A span as the collector has it. Ids are hexadecimal, times in seconds."""

    name: str
    trace_id: str
    span_id: str
    parent_id: str
    start: float
    end: float
    attributes: dict[str, Any]
    resource: dict[str, Any]
    error: str | None


@dataclass(slots=True)
class Collector:
    """``answer`` is the status that it gives; None: it takes the request and never answers."""

    url: str
    answer: int | None
    spans: list[SentSpan] = field(default_factory=list[SentSpan])
    headers: list[dict[str, str]] = field(default_factory=list[dict[str, str]])
    requests: int = 0
    bodies: list[bytes] = field(default_factory=list[bytes])
    closing: threading.Event = field(default_factory=threading.Event)

    def named(self, name: str) -> list[SentSpan]:
        return [span for span in self.spans if span.name == name]

    def take(self, headers: dict[str, str], body: bytes) -> int:
        self.requests += 1
        if self.answer is None:
            self.closing.wait()
            return 503
        if self.answer == 200:
            plain = gzip.decompress(body) if headers.get("content-encoding") == "gzip" else body
            self.bodies.append(plain)
            self.headers.append(headers)
            self.spans.extend(_spans(plain))
        return self.answer


@contextmanager
def collecting(answer: int | None = 200) -> Generator[Collector]:
    """A collector while the block runs."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            headers = {name.lower(): value for name, value in self.headers.items()}
            status = collector.take(headers, body) if self.path == PATH else 404
            answer = ExportTraceServiceResponse().SerializeToString()
            with suppress(OSError):  # who was kept waiting may have gone
                self.send_response(status)
                self.send_header("content-type", "application/x-protobuf")
                self.send_header("content-length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name is http.server's
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    collector = Collector(f"http://127.0.0.1:{server.server_port}", answer)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield collector
    finally:
        collector.closing.set()
        server.shutdown()
        server.server_close()
        thread.join()


def _spans(body: bytes) -> list[SentSpan]:
    request = ExportTraceServiceRequest.FromString(body)
    return [
        _span(span, _plain(resource.resource.attributes))
        for resource in request.resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
    ]


def _span(span: Span, resource: dict[str, Any]) -> SentSpan:
    return SentSpan(
        span.name,
        span.trace_id.hex(),
        span.span_id.hex(),
        span.parent_span_id.hex(),
        span.start_time_unix_nano / 1e9,
        span.end_time_unix_nano / 1e9,
        _plain(span.attributes),
        resource,
        span.status.message if span.status.code == Status.STATUS_CODE_ERROR else None,
    )


def _plain(attributes: Any) -> dict[str, Any]:
    return {each.key: getattr(each.value, each.value.WhichOneof("value")) for each in attributes}
