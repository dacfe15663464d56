"""Questions that people ask: one method for each file in ``questions/``, by the same name. They change nothing.

Every answer is bounded: a queue of a million jobs is looked at as quickly as one of ten thousand.
"""

from generation_worker.db.insights.access import AccessInsights
from generation_worker.db.insights.accounts import AccountInsights
from generation_worker.db.insights.bounds import FAR, LAST_ENTRY, LAST_EVENT, SAMPLE
from generation_worker.db.insights.control import ControlInsights
from generation_worker.db.insights.fleet import FleetInsights
from generation_worker.db.insights.jobs import JobInsights
from generation_worker.db.insights.queue import QueueInsights
from generation_worker.db.insights.results import ResultInsights
from generation_worker.db.insights.server import ServerInsights
from generation_worker.db.insights.webhooks import WebhookInsights

__all__ = ["FAR", "LAST_ENTRY", "LAST_EVENT", "SAMPLE", "Insights"]


class Insights(
    QueueInsights,
    FleetInsights,
    ResultInsights,
    JobInsights,
    AccountInsights,
    AccessInsights,
    ControlInsights,
    WebhookInsights,
    ServerInsights,
):
    """All of them, on the same connections."""
