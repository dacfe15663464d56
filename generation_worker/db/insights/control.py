"""Questions about what people have set for the whole fleet, and who changed what."""

from __future__ import annotations

from datetime import datetime

from generation_worker.db.answers.control import AuditEvent, FleetSetting, Pause
from generation_worker.db.insights.asking import Asking
from generation_worker.db.insights.bounds import LAST_EVENT


class ControlInsights(Asking):
    def pauses(self) -> list[Pause]:
        """What nobody starts, and who decided that."""
        return self._ask(Pause, "pauses")

    def fleet_settings(self) -> list[FleetSetting]:
        """What the whole fleet follows: prices, default provider, pace."""
        return self._ask(FleetSetting, "fleet_settings")

    def audit_events(
        self,
        *,
        actor: str | None = None,
        action: str | None = None,
        target: str | None = None,
        since: datetime | None = None,
        before: int = LAST_EVENT,
        limit: int = 50,
    ) -> list[AuditEvent]:
        """What people and keys have changed, the latest first, from the event before number ``before`` on.

        ``actor``, ``action`` and ``target`` are how these begin: ``cli:``, ``job.``, ``user:ada``.
        """
        return self._ask(
            AuditEvent,
            "audit_events",
            actor=actor,
            action=action,
            target=target,
            since=since,
            before=before,
            limit=limit,
        )
