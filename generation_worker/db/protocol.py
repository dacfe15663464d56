"""The worker's statements: one method for each file in ``sql/protocol/``, by the same name."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from generation_worker import ports
from generation_worker.db.connections import Runner
from generation_worker.domain import fleet, gate, webhook
from generation_worker.domain.job import ClaimCursor, Job, Status
from generation_worker.domain.settlement import Settlement

Row = dict[str, Any]


def lane_columns(low_water_marks: Mapping[str, ClaimCursor]) -> dict[str, Any]:
    priorities, positions, ids = zip(*low_water_marks.values(), strict=True)
    return {
        "providers": list(low_water_marks),
        "priorities": list(priorities),
        "positions": list(positions),
        "ids": list(ids),
    }


JOB_COLUMNS = [name for name in Job._fields if name != "cursor"]


def claim_of(rows: list[Row]) -> ports.Claim:
    closed = [row for row in rows if row["what"] == "closed"]
    return ports.Claim(
        jobs=[job_of(row) for row in rows if row["what"] == "started"],
        refused=[
            ports.RefusedJob(row["id"], row["user_id"], row["age"], row["traceparent"])
            for row in rows
            if row["what"] == "refused"
        ],
        opens_in=min((row["opens_in"] for row in closed), default=None),
        all_breakers_open=any(row["all_breakers_open"] for row in closed),
    )


def job_of(row: Row) -> Job:
    """From a row of a claim or a reclaim; what one of them does not have is None."""
    values: dict[str, Any] = {name: row.get(name) for name in JOB_COLUMNS}
    return Job(**values, cursor=ClaimCursor(row["priority"], row["position"], row["id"]))


def news_of(version: str, settings: Mapping[str, Mapping[str, Any]], webhooks: Mapping[str, Any]) -> ports.FleetState:
    """A value that somebody has written past the checks is as if it were not there: no worker may break over it."""
    values = {name: setting["value"] for name, setting in settings.items()}
    concurrency, poll_interval = values.get("concurrency"), values.get("poll_interval")
    return ports.FleetState(
        version,
        concurrency=None if fleet.concurrency_problem(concurrency) else concurrency,
        poll_interval=None if fleet.poll_problem(poll_interval) else poll_interval,
        pauses=tuple(_pause(name, each) for name, each in sorted(settings.items()) if name.startswith(fleet.PREFIX)),
        woken=settings["woken"]["since"] if "woken" in settings else None,
        webhooks=tuple(webhooks["events"]),
        disabled=tuple(ports.DisabledEndpoint(**each) for each in webhooks["disabled"]),
    )


def _pause(name: str, setting: Mapping[str, Any]) -> ports.FleetPause:
    value = setting["value"]
    reason = value.get("reason") if isinstance(value, dict) else None  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
    return ports.FleetPause(str(fleet.extent_of(name)), setting["since"], setting["by"], reason)  # pyright: ignore[reportUnknownArgumentType]


def key_columns(keys: Sequence[ports.LimitedKey]) -> dict[str, list[Any]]:
    labels, providers, limits = zip(*keys, strict=True) if keys else ((), (), ())
    return {"keys": list(labels), "key_providers": list(providers), "limits": list(limits)}


def settlement_row(job: Job, settlement: Settlement) -> dict[str, Any]:
    """What the statement reads; names that are left out are null."""
    row: dict[str, Any] = {
        "id": job.id,
        "token": job.lease_token,
        "outcome": settlement.outcome,
        "status": settlement.status,
        "cancel_status": settlement.cancel_status,
        "attempt_step": settlement.attempt_step,
        "crash_step": settlement.crash_step,
        "wait_step": settlement.wait_step,
        "allowance": settlement.allowance,
    }
    if settlement.result is not None:
        row["result"] = settlement.result
    else:
        row |= {
            "delay": settlement.delay,
            "error_code": settlement.error_code,
            "error_message": settlement.error_message,
        }
    return row


LOOKED_THROUGH = 50_000
"""Jobs that wait or run whose inputs are looked at, to find out which uploads are still wanted."""


class PostgresStore(Runner):
    """Runs the statements of the protocol. Safe to use from many threads if its connections are."""

    def claim_jobs(
        self,
        worker: str,
        low_water_marks: Mapping[str, ClaimCursor],
        *,
        keys: Sequence[ports.LimitedKey] = (),
        slots: int,
        lease: float,
        max_attempts: int,
        left_out: Sequence[str] = (),
        rehearse: str | None = None,
    ) -> ports.Claim:
        values = lane_columns(low_water_marks) | {
            "worker": worker,
            "left_out": list(left_out),
            "rehearsed": rehearse,
            "keys": [key.label for key in keys],
            "gated": [key.provider for key in keys],
            "slots": slots,
            "lease": lease,
            "max_attempts": max_attempts,
        }
        statement = "claim_limited_jobs" if keys else "claim_jobs"
        return claim_of(self._rows(statement, keep=rehearse is None, **values))

    def find_suspects(
        self, low_water_marks: Mapping[str, ClaimCursor], *, limit: int, left_out: Sequence[str]
    ) -> list[ports.Suspect]:
        return self._all(
            ports.Suspect, "find_suspects", **lane_columns(low_water_marks), limit=limit, left_out=list(left_out)
        )

    def renew_leases(
        self, leases: Sequence[tuple[str, str]], *, lease: float, timeout: float, grace: float
    ) -> dict[str, ports.Renewal]:
        mine = json.dumps([{"id": job_id, "token": token} for job_id, token in leases])
        rows = self._rows("renew_leases", leases=mine, lease=lease, timeout=timeout, grace=grace)
        return {row["id"]: ports.Renewal(row["renewed"], row["cancel_requested"]) for row in rows}

    def settle_attempts(self, settlements: Sequence[tuple[Job, Settlement]]) -> dict[str, Status]:
        written = json.dumps([settlement_row(job, settlement) for job, settlement in settlements])
        return {row["id"]: row["status"] for row in self._rows("settle_attempts", settlements=written)}

    def reclaim_jobs(self, *, limit: int, lease: float) -> list[ports.ReclaimedJob]:
        rows = self._rows("reclaim_jobs", limit=limit, lease=lease)
        return [ports.ReclaimedJob(job_of(row), worker=row["locked_by"], held_for=row["held_for"]) for row in rows]

    def promote_jobs(self, *, limit: int) -> ports.Promotion:
        return self._all(ports.Promotion, "promote_jobs", limit=limit)[0]

    def expire_jobs(self, *, limit: int) -> list[ports.ExpiredJob]:
        return self._all(ports.ExpiredJob, "expire_jobs", limit=limit)

    def move_jobs(self, *, limit: int) -> int:
        return self._change("move_jobs", limit=limit)

    def prune_jobs(self, *, retention: float, limit: int) -> int:
        return self._change("prune_jobs", retention=retention, limit=limit)

    def begin_call(self, job: Job, *, provider: str, key_label: str, max_paid_calls: int) -> ports.CallBegun:
        rows = self._rows(
            "begin_call",
            job_id=job.id,
            token=job.lease_token,
            provider=provider,
            key_label=key_label,
            permit=job.permit,
            max_paid_calls=max_paid_calls,
        )
        return ports.CallBegun(held=True, **rows[0]) if rows else ports.CallBegun(False, False, 0, None)

    def remember_call(self, job: Job, number: int, provider_ref: str) -> None:
        self._change("remember_call", job_id=job.id, number=number, provider_ref=provider_ref)

    def renew_permit(self, job: Job, number: int, *, key_label: str, permit: int) -> ports.Admission | None:
        return self._one_or_none(
            ports.Admission, "renew_permit", job_id=job.id, number=number, key_label=key_label, permit=permit
        )

    def return_permit(self, job: Job) -> None:
        self._change("return_permit", job_id=job.id, token=job.lease_token, key_label=job.key_label, permit=job.permit)

    def finish_call(
        self, job: Job, number: int, report: ports.CallReport, *, policy: gate.BreakerPolicy = gate.BREAKER
    ) -> ports.GateChange | None:
        return self._one_or_none(
            ports.GateChange,
            "finish_call",
            job_id=job.id,
            number=number,
            milliseconds=report.milliseconds,
            spent=report.spent,
            model=report.model,
            provider_ref=report.provider_ref,
            usage=None if report.usage is None else json.dumps(dict(report.usage)),
            error_code=report.error_code,
            verdict=report.verdict,
            wait=report.wait,
            reason=report.reason,
            most_failures=policy.failures,
            shortest=policy.shortest,
            longest=policy.longest,
        )

    def stage_image(self, job: Job, staged: ports.Staged) -> bool:
        values = {"provider": staged.provider, "model": staged.model, "bytes": staged.data}
        return self._change("stage_image", job_id=job.id, **values) > 0

    def find_staged(self, job: Job) -> ports.Staged | None:
        return self._one_or_none(ports.Staged, "find_staged", job_id=job.id)

    def discard_staged(self, job: Job) -> None:
        self._change("discard_staged", job_id=job.id)

    def prune_staged(self, *, limit: int) -> int:
        return self._change("prune_staged", limit=limit)

    def claim_task(self, name: str, *, every: float) -> bool:
        return bool(self._change("claim_task", name=name, every=every))

    def finish_task(self, name: str, *, error: str | None) -> None:
        self._change("finish_task", name=name, error=error)

    def read_cursor(self, name: str) -> str | None:
        rows = self._rows("read_cursor", name=name)
        return rows[0]["cursor"] if rows else None

    def save_cursor(self, name: str, cursor: str | None) -> None:
        self._change("save_cursor", name=name, cursor=cursor)

    def save_findings(self, name: str, found: Mapping[str, Any]) -> None:
        self._change("save_findings", name=name, found=json.dumps(dict(found)))

    def find_orphans(self, objects: Sequence[tuple[str, ports.StoredObject]], *, age: float) -> list[str]:
        rows = self._rows(
            "find_orphans",
            keys=[stored.key for _, stored in objects],
            jobs=[job_id for job_id, _ in objects],
            modified=[stored.modified_at for _, stored in objects],
            age=age,
        )
        return [row["key"] for row in rows]

    def find_stale_uploads(self, uploads: Sequence[ports.StoredObject], *, age: float) -> list[str]:
        rows = self._rows(
            "find_stale_uploads",
            keys=[stored.key for stored in uploads],
            modified=[stored.modified_at for stored in uploads],
            age=age,
            cap=LOOKED_THROUGH,
        )
        return [row["key"] for row in rows]

    def note_swept(self, keys: Sequence[str]) -> None:
        self._change("note_swept", keys=list(keys))

    def prune_swept(self, *, retention: float, limit: int) -> int:
        return self._change("prune_swept", retention=retention, limit=limit)

    def register_worker(self, info: ports.WorkerInfo) -> None:
        self._change(
            "register_worker",
            worker=info.id,
            version=info.version,
            providers=list(info.providers),
            concurrency=info.concurrency,
            **key_columns(info.keys),
        )

    def touch_worker(
        self, info: ports.WorkerInfo, *, busy: int, stuck: int, known: str = ""
    ) -> ports.FleetState | None:
        named: dict[str, Any] = {"worker": info.id, "concurrency": info.concurrency, **key_columns(info.keys)}
        rows = self._rows("touch_worker", **named, busy=busy, stuck=stuck, known=known)
        return news_of(**rows[0]) if rows else None

    def park_paused_jobs(self, *, limit: int) -> int:
        return self._change("park_paused_jobs", limit=limit)

    def unpark_jobs(self, *, limit: int) -> int:
        return self._change("unpark_jobs", limit=limit)

    def set_asleep(self, worker: str, *, asleep: bool) -> None:
        self._change("set_asleep", worker=worker, asleep=asleep)

    def remove_worker(self, worker: str) -> None:
        self._change("remove_worker", worker=worker)

    def send_message(self, message: str) -> None:
        self._change("send_message", message=message)

    def claim_deliveries(
        self, *, slots: int, per_endpoint: int, failing_slots: int, busy: Mapping[str, int], lease: float
    ) -> list[ports.Delivery]:
        return self._all(
            ports.Delivery,
            "claim_deliveries",
            slots=slots,
            per_endpoint=per_endpoint,
            failing_slots=failing_slots,
            busy=json.dumps(dict(busy)),
            lease=lease,
        )

    def record_delivery(
        self, delivery: ports.Delivery, reply: webhook.Reply, judgement: webhook.Judgement
    ) -> ports.Recorded:
        rows = self._rows(
            "record_delivery",
            id=delivery.id,
            token=delivery.token,
            status=judgement.status,
            answer=reply.status,
            error=judgement.problem,
            delay=judgement.delay,
            rest=judgement.rest,
            gone=judgement.gone,
            longest_failing=webhook.LONGEST_FAILING,
        )
        return ports.Recorded(True, rows[0]["disabled_for"]) if rows else ports.Recorded(False)

    def finish_batches(self, *, limit: int) -> int:
        return self._change("finish_batches", limit=limit)

    def prune_deliveries(self, *, retention: float, limit: int) -> int:
        return self._change("prune_deliveries", retention=retention, limit=limit)
