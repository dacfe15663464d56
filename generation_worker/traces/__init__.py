"""Spans for OpenTelemetry. Needs the extra ``otel``; importing its modules without it raises ImportError."""
