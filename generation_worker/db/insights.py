"""Questions that people ask: one method for each file in ``questions/``, by the same name. They change nothing.

Every answer is bounded: a queue of a million jobs is looked at as quickly as one of ten thousand.
"""

from generation_worker.db.access import AccessInsights
from generation_worker.db.audit_trail import ControlInsights
from generation_worker.db.credits import AccountInsights
from generation_worker.db.fleet import FleetInsights, QueueInsights
from generation_worker.db.jobs import JobInsights, ResultInsights
from generation_worker.db.query import FAR, LAST_ENTRY, LAST_EVENT, SAMPLE
from generation_worker.db.server import ServerInsights
from generation_worker.db.webhooks import WebhookInsights

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
