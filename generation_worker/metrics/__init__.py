"""Metrics for Prometheus: what this process has done, and how the whole fleet is."""

from generation_worker.metrics.exposition import Metrics

__all__ = ["Metrics"]
