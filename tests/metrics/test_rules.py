"""The rules of the page on operating ask for metrics that there are."""

from __future__ import annotations

import re

from generation_worker.events import Events
from generation_worker.metrics import Metrics
from tests.docs.documents import blocks
from tests.metrics.scripted_queries import ScriptedQueries

REPORT = {"version": "1", **dict.fromkeys(("concurrency", "busy", "stuck", "unwritten", "ready", "listening"), 1)}


def test_every_metric_of_the_page_exists() -> None:
    metrics = Metrics(Events(), ("local",))
    metrics.watch(lambda: REPORT, ScriptedQueries())
    said, _ = metrics.scrape("text/plain", fleet=True)
    known = set(re.findall(r"(?m)^# TYPE (\w+)", said.decode()))
    rules = [block.text for block in blocks("docs/operating.md") if block.language == "yaml"]
    asked = set(re.findall(r"\bworker_\w+", "".join(rules)))
    assert len(asked) > 10
    assert asked - known == set()
