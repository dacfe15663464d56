"""Questions about jobs that somebody names or chooses."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, get_args
from uuid import UUID

from generation_worker.db.answers.control import AuditEvent, Pause
from generation_worker.db.answers.jobs import JobDetails, JobGlance, Row
from generation_worker.db.answers.queue import JobCount
from generation_worker.db.insights.asking import Asking, only
from generation_worker.db.insights.bounds import FAR, HEAD
from generation_worker.domain.job import Status


class JobInsights(Asking):
    def find_jobs(self, prefix: str, *, limit: int = 2) -> list[UUID]:
        """The ids that begin with ``prefix``, in their order. A text that begins no id finds nothing."""
        digits = prefix.replace("-", "").lower()
        if not digits or len(digits) > 32 or set(digits) - set("0123456789abcdef"):
            return []
        low, high = UUID(digits.ljust(32, "0")), UUID(digits.ljust(32, "f"))
        return [row["id"] for row in self._rows("find_jobs", low=low, high=high, limit=limit)]

    def job(self, job_id: UUID) -> Row | None:
        """A job's row by the names of its columns, and ``replayed_as``."""
        return only(self._rows("job", id=job_id))

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
        found = only(self._rows("queue_position", id=job_id, cap=cap))
        return None if found is None else found["position"]

    def jobs_of_user(self, user: str, *, cap: int = 1000) -> list[JobCount]:
        """One user's jobs in each state, in the order of a job's life. Not exact: there are more."""
        counts = {count.status: count for count in self._ask(JobCount, "jobs_of_user", user=user, cap=cap)}
        return [counts[status] for status in get_args(Status)]

    def job_changes(self, job_id: UUID, *, limit: int = 100) -> list[AuditEvent]:
        """What people and keys have changed about a job, in their order."""
        return self._ask(AuditEvent, "job_changes", id=job_id, limit=limit)

    def job_pauses(self, job_id: UUID) -> list[Pause]:
        """What keeps a job waiting, or would if it waited."""
        return self._ask(Pause, "job_pauses", id=job_id)

    def job_images(self, job_id: UUID) -> Any:
        """The images of a job's result, as they stand there; None if it has none, or if there is no job."""
        found = only(self._rows("job_images", id=job_id))
        return None if found is None else found["images"]

    def job_glances(self, job_ids: Sequence[UUID], *, head: int = HEAD) -> dict[UUID, JobGlance]:
        """What a list shows of these jobs beside their columns. Places are told among the first ``head`` of a lane."""
        found = self._ask(JobGlance, "job_glances", ids=list(job_ids), head=head)
        return {glance.id: glance for glance in found}

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
