"""Spans for OpenTelemetry. Needs the extra ``otel``; importing a module of it without that raises ImportError."""
