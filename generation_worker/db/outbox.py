"""The courier's statements: one method for each file in ``courier/``, by the same name."""

from __future__ import annotations

import json
from collections.abc import Mapping

from generation_worker.db.running import Runner
from generation_worker.domain.webhook import LONGEST_FAILING, Judgement, Reply
from generation_worker.ports import Delivery, Recorded


class PostgresOutbox(Runner):
    """Safe to use from many threads if its connections are."""

    folder = "courier"

    def claim_deliveries(
        self, *, slots: int, per_endpoint: int, failing_slots: int, busy: Mapping[str, int], lease: float
    ) -> list[Delivery]:
        rows = self._run(
            "claim_deliveries",
            slots=slots,
            per_endpoint=per_endpoint,
            failing_slots=failing_slots,
            busy=json.dumps(dict(busy)),
            lease=lease,
        )
        return [Delivery(*row) for row in rows]

    def record_delivery(self, delivery: Delivery, reply: Reply, judgement: Judgement) -> Recorded:
        rows = self._run(
            "record_delivery",
            id=delivery.id,
            token=delivery.token,
            status=judgement.status,
            answer=reply.status,
            error=judgement.problem,
            delay=judgement.delay,
            rest=judgement.rest,
            gone=judgement.gone,
            longest_failing=LONGEST_FAILING,
        )
        return Recorded(True, rows[0][0]) if rows else Recorded(False)

    def finish_batches(self, *, limit: int) -> int:
        return self._change("finish_batches", limit=limit)

    def prune_deliveries(self, *, retention: float, limit: int) -> int:
        return self._change("prune_deliveries", retention=retention, limit=limit)
