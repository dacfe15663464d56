"""Questions that people ask: one method for each file in ``questions/``, by the same name. They change nothing.

Every answer is bounded: a queue of a million jobs is looked at as quickly as one of ten thousand.
"""

from generation_worker.db.audit_trail import FleetSetting, Pause
from generation_worker.db.fleet import FleetInsights, QueueInsights
from generation_worker.db.jobs import JobInsights, ResultInsights
from generation_worker.db.query import FAR, LAST_ENTRY, LAST_EVENT, SAMPLE, Asking
from generation_worker.db.server import ServerInsights
from generation_worker.db.webhooks import WebhookInsights

__all__ = ["FAR", "LAST_ENTRY", "LAST_EVENT", "SAMPLE", "Insights"]


class ControlInsights(Asking):
    def pauses(self) -> list[Pause]:
        return self._ask(Pause, "pauses")

    def fleet_settings(self) -> list[FleetSetting]:
        return self._ask(FleetSetting, "fleet_settings")


class Insights(
    QueueInsights,
    FleetInsights,
    ResultInsights,
    JobInsights,
    ControlInsights,
    WebhookInsights,
    ServerInsights,
):
    """All of them, on the same connections."""
