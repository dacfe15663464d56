"""Questions about what people have set for the whole fleet, and who changed what."""

from __future__ import annotations

from datetime import datetime

from generation_worker.db.answers.control import AuditEvent, AuditReach, FleetSetting, Pause
from generation_worker.db.insights.asking import Asking, only
from generation_worker.db.insights.bounds import FAR, LAST_EVENT


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
        cap: int | None = None,
    ) -> list[AuditEvent]:
        """What people and keys have changed, the latest first, from the event before number ``before`` on.

        ``actor``, ``action`` and ``target`` are how these begin: ``cli:``, ``job.``, ``user:ada``. Without a ``cap``
        on the events that are looked at, what matches seldom is looked for to the beginning.
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
            cap=cap,
        )

    def audit_reach(self, *, before: int = LAST_EVENT, cap: int = FAR) -> AuditReach | None:
        """Where a look at ``cap`` events ends; None if there are none."""
        return only(self._ask(AuditReach, "audit_reach", before=before, cap=cap))
