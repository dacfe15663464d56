"""Questions that people ask: one method for each file in ``questions/``, by the same name. They change nothing.

Every answer is bounded: a queue of a million jobs is looked at as quickly as one of ten thousand.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, TypeVar
from uuid import UUID

import psycopg
from psycopg.rows import BaseRowFactory, class_row, dict_row

from generation_worker.db.answers import (
    Account,
    AuditEvent,
    Balance,
    DeadLetter,
    DeadLetters,
    DuplicateCalls,
    Endpoint,
    Entry,
    FailureCode,
    FleetSetting,
    Function,
    Gate,
    JobCount,
    JobDetails,
    LaneFront,
    MaintenanceTask,
    NextDue,
    Pause,
    ProcessingJob,
    Row,
    SchemaPlace,
    SentMessage,
    Server,
    TableHealth,
    TableRights,
    Throughput,
    VacuumHolder,
    Worker,
)
from generation_worker.db.running import Connections
from generation_worker.db.statements import load_statements
from generation_worker.domain.refusals import InvalidRequest

FAR = 10_000
"""How many rows are counted one by one before an estimate, or "or more", has to do."""
SAMPLE = 50_000
"""How many of the latest final jobs stand for a day."""
LAST_ENTRY = LAST_EVENT = 2**63 - 1

T = TypeVar("T")


class Insights:
    """Asks on connections in autocommit mode. Safe to use from many threads if its connections are.

    Every method may raise psycopg.Error.
    """

    def __init__(self, connections: Connections) -> None:
        self._connections = connections
        self._statements = load_statements("questions")

    # the queue

    def count_jobs(self, *, cap: int = FAR) -> list[JobCount]:
        """The jobs in each state, in the order of a job's life; estimates beyond ``cap``."""
        return self._ask(JobCount, "count_jobs", cap=cap)

    def oldest_waiting(self, *, cap: int = FAR) -> list[LaneFront]:
        """The longest wait in each lane that has jobs, the longest first."""
        return self._ask(LaneFront, "oldest_waiting", cap=cap)

    def next_due(self) -> NextDue | None:
        return _only(self._ask(NextDue, "next_due"))

    def processing_jobs(self, *, limit: int = 100) -> list[ProcessingJob]:
        """What runs now, the longest first."""
        return self._ask(ProcessingJob, "processing_jobs", limit=limit)

    def workers(self, *, limit: int = 100) -> list[Worker]:
        return self._ask(Worker, "workers", limit=limit)

    def gates(self, *, limit: int = 100) -> list[Gate]:
        """The gates of all keys, by provider."""
        return self._ask(Gate, "gates", limit=limit)

    def pauses(self) -> list[Pause]:
        """What nobody starts, and who decided that."""
        return self._ask(Pause, "pauses")

    def throughput(self, *, cap: int = SAMPLE) -> list[Throughput]:
        """What ended in the last hour and the last day; scaled up beyond ``cap`` jobs."""
        return self._ask(Throughput, "throughput", cap=cap)

    def failures_by_code(self, *, seconds: float = 86_400, cap: int = SAMPLE) -> list[FailureCode]:
        """The reasons of failures within the last ``seconds``, the most frequent first."""
        return self._ask(FailureCode, "failures_by_code", seconds=seconds, cap=cap)

    def duplicate_calls(self, *, seconds: float = 86_400, cap: int = FAR) -> DuplicateCalls:
        """What providers were, or may have been, paid for more than once within the last ``seconds``."""
        return self._ask(DuplicateCalls, "duplicate_calls", seconds=seconds, cap=cap)[0]

    def oldest_snapshot(self) -> float:
        """Seconds for which the oldest transaction has been looking at old rows; as far as the role may see."""
        return self._rows("oldest_snapshot")[0]["seconds"]

    def maintenance(self) -> list[MaintenanceTask]:
        return self._ask(MaintenanceTask, "maintenance")

    # one job

    def find_jobs(self, prefix: str, *, limit: int = 2) -> list[UUID]:
        """The ids that begin with ``prefix``, in their order. A text that begins no id finds nothing."""
        digits = prefix.replace("-", "").lower()
        if not digits or len(digits) > 32 or set(digits) - set("0123456789abcdef"):
            return []
        low, high = UUID(digits.ljust(32, "0")), UUID(digits.ljust(32, "f"))
        return [row["id"] for row in self._rows("find_jobs", low=low, high=high, limit=limit)]

    def job(self, job_id: UUID) -> Row | None:
        """A job's row by the names of its columns, and ``replayed_as``."""
        return _only(self._rows("job", id=job_id))

    def job_details(self, job_id: UUID) -> JobDetails | None:
        """A job with its attempts, provider calls, credit entries and place in line; None if there is none."""
        job = self.job(job_id)
        if job is None:
            return None
        return JobDetails(
            job=job,
            queue_position=self.queue_position(job_id),
            attempts=self._rows("job_attempts", id=job_id),
            calls=self._rows("job_calls", id=job_id),
            entries=self._rows("job_entries", id=job_id),
        )

    def queue_position(self, job_id: UUID, *, cap: int = FAR) -> int | None:
        """How many jobs go before it, at most ``cap``; None if it is not pending."""
        found = _only(self._rows("queue_position", id=job_id, cap=cap))
        return None if found is None else found["position"]

    def chosen_jobs(
        self, *, action: str, statuses: Sequence[str], after: UUID, limit: int, **chosen: Any
    ) -> list[UUID]:
        """The ids behind ``after`` of those that a ``bulk.Filter`` chooses."""
        asked = {"action": action, "statuses": list(statuses), "after": after, "limit": limit}
        return [row["id"] for row in self._rows("chosen_jobs", **asked, **chosen)]

    def count_chosen_jobs(self, *, action: str, statuses: Sequence[str], **chosen: Any) -> dict[str, int]:
        """How many of each status. This one is not bounded: who changes many jobs wants to know how many."""
        rows = self._rows("count_chosen_jobs", action=action, statuses=list(statuses), **chosen)
        return {row["status"]: row["jobs"] for row in rows}

    # dead letters

    def dead_letters(
        self,
        *,
        limit: int = 50,
        cursor: str | None = None,
        code: str | None = None,
        user: str | None = None,
    ) -> DeadLetters:
        """Failed jobs, the latest first, a page at a time. Raises InvalidRequest for a cursor that is not ours."""
        before_time, before_id = _read_cursor(cursor)
        found = self._ask(
            DeadLetter,
            "dead_letters",
            limit=limit + 1,
            before_time=before_time,
            before_id=before_id,
            code=code,
            user=user,
        )
        page = found[:limit]
        more = len(found) > limit and page
        return DeadLetters(page, f"{page[-1].finished_at.isoformat()}_{page[-1].id}" if more else None)

    # credits, settings and who changed them

    def balances(self, *, after: str = "", limit: int = 100) -> list[Balance]:
        """Accounts in the order of their users, from the one behind ``after`` on."""
        return self._ask(Balance, "balances", after=after, limit=limit)

    def account(self, user: str) -> Account | None:
        return _only(self._ask(Account, "account", user=user))

    def account_entries(self, user: str, *, before: int = LAST_ENTRY, limit: int = 50) -> list[Entry]:
        """The entries of an account, the latest first, from the one before number ``before`` on."""
        return self._ask(Entry, "account_entries", user=user, before=before, limit=limit)

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

    # webhooks

    def webhook_endpoints(
        self,
        *,
        endpoint: UUID | None = None,
        user_id: str | None = None,
        after: UUID | None = None,
        troubled_first: bool = True,
        limit: int = 1000,
    ) -> list[Endpoint]:
        """Those in trouble come first, unless they are asked for page by page, in the order of their ids."""
        return self._ask(
            Endpoint,
            "webhook_endpoints",
            endpoint=endpoint,
            user_id=user_id,
            after=after,
            troubled_first=troubled_first,
            limit=limit,
        )

    def webhook_deliveries(
        self,
        *,
        delivery: UUID | None = None,
        endpoint: UUID | None = None,
        job: UUID | None = None,
        state: str | None = None,
        failed: bool = False,
        user_id: str | None = None,
        before: tuple[datetime, UUID] | None = None,
        limit: int = 100,
    ) -> list[SentMessage]:
        """Messages, the latest first; those before ``before``, which is the time and the id of one."""
        moment, message = before or (None, None)
        return self._ask(
            SentMessage,
            "webhook_deliveries",
            delivery=delivery,
            endpoint=endpoint,
            job=job,
            state=state,
            failed=failed,
            user_id=user_id,
            before=moment,
            before_id=message,
            limit=limit,
        )

    # the server

    def server(self) -> Server:
        """What kind of server this is and how it is set up."""
        return self._ask(Server, "server")[0]

    def vacuum_holders(self, *, limit: int = 5) -> list[VacuumHolder]:
        """Who keeps dead rows from being removed, the oldest first."""
        return self._ask(VacuumHolder, "vacuum_holders", limit=limit)

    def table_health(self, tables: Sequence[str]) -> list[TableHealth]:
        """Dead rows of those of ``tables`` that are there, the most first."""
        return self._ask(TableHealth, "table_health", tables=list(tables))

    def table_rights(self, tables: Sequence[str]) -> list[TableRights]:
        """What this role may do with those of ``tables`` that are there."""
        return self._ask(TableRights, "table_rights", tables=list(tables))

    def functions(self) -> list[Function]:
        """The functions beside our tables, and whether this role may call them."""
        return self._ask(Function, "functions")

    def schema_place(self) -> SchemaPlace:
        """Where this role looks for the tables."""
        return self._ask(SchemaPlace, "schema_place")[0]

    def _ask(self, answer: type[T], question: str, **values: Any) -> list[T]:
        return self._run(class_row(answer), question, values)

    def _rows(self, question: str, **values: Any) -> list[Row]:
        return self._run(dict_row, question, values)

    def _run(self, factory: BaseRowFactory[T], question: str, values: dict[str, Any]) -> list[T]:
        with self._connections.connection() as connection, _cursor(connection, factory) as cursor:
            return cursor.execute(self._statements[question], values).fetchall()


def _cursor(connection: psycopg.Connection[Any], factory: BaseRowFactory[T]) -> psycopg.Cursor[T]:
    return connection.cursor(row_factory=factory)


def _only(rows: list[T]) -> T | None:
    return rows[0] if rows else None


def _read_cursor(cursor: str | None) -> tuple[datetime | None, UUID | None]:
    if cursor is None:
        return None, None
    time, _, job_id = cursor.partition("_")
    try:
        return datetime.fromisoformat(time), UUID(job_id)
    except ValueError:
        raise InvalidRequest("cursor: is not one that a page of dead letters ended with") from None
