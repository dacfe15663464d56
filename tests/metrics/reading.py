"""Reads what was scraped, as strictly as the formats are."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import cast

from prometheus_client import Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics  # pyright: ignore[reportUnknownVariableType]
from prometheus_client.parser import text_string_to_metric_families as parse_text

Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]
OPENMETRICS = "application/openmetrics-text;version=1.0.0"


def samples(body: bytes, content_type: str) -> Samples:
    """Every sample by its name and labels. Raises ValueError for what is not well-formed, or is there twice."""
    openmetrics = content_type.startswith("application/openmetrics-text")
    parse = cast(Callable[[str], Iterable[Metric]], parse_openmetrics if openmetrics else parse_text)
    found: Samples = {}
    for family in parse(body.decode()):
        for sample in family.samples:
            key = (sample.name, tuple(sorted(sample.labels.items())))
            if key in found:
                raise ValueError(f"twice: {key}")
            found[key] = sample.value
    return found


def value(found: Samples, name: str, **labels: str) -> float | None:
    """The value of one series; None if it is not there."""
    return found.get((name, tuple(sorted(labels.items()))))


def series(found: Samples, name: str) -> dict[tuple[str, ...], float]:
    """All series of a name, by the values of their labels in the order of these."""
    return {tuple(label for _, label in labels): each for (known, labels), each in found.items() if known == name}
