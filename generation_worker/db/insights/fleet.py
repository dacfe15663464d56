"""Questions about the fleet."""

from __future__ import annotations

from generation_worker.db.answers.fleet import Gate, MaintenanceTask, Worker
from generation_worker.db.insights.asking import Asking


class FleetInsights(Asking):
    def workers(self, *, limit: int = 100) -> list[Worker]:
        return self._ask(Worker, "workers", limit=limit)

    def gates(self, *, limit: int = 100) -> list[Gate]:
        """The gates of all keys, by provider."""
        return self._ask(Gate, "gates", limit=limit)

    def maintenance(self) -> list[MaintenanceTask]:
        return self._ask(MaintenanceTask, "maintenance")

    def oldest_snapshot(self) -> float:
        """Seconds for which the oldest transaction has been looking at old rows; as far as the role may see."""
        return self._rows("oldest_snapshot")[0]["seconds"]
