"""Questions about the queue."""

from __future__ import annotations

from generation_worker.db.answers.queue import JobCount, Lane, LaneFront, NextDue, ProcessingJob
from generation_worker.db.insights.asking import Asking, only
from generation_worker.db.insights.bounds import FAR


class QueueInsights(Asking):
    def count_jobs(self, *, cap: int = FAR) -> list[JobCount]:
        """The jobs in each state, in the order of a job's life; estimates beyond ``cap``."""
        return self._ask(JobCount, "count_jobs", cap=cap)

    def oldest_waiting(self, *, cap: int = FAR) -> list[LaneFront]:
        """The longest wait in each lane that has jobs, the longest first."""
        return self._ask(LaneFront, "oldest_waiting", cap=cap)

    def lanes(self, *, cap: int = FAR) -> list[Lane]:
        """What waits for each provider, and why."""
        return self._ask(Lane, "lanes", cap=cap)

    def next_due(self) -> NextDue | None:
        return only(self._ask(NextDue, "next_due"))

    def processing_jobs(self, *, limit: int = 100) -> list[ProcessingJob]:
        """What runs now, the longest first."""
        return self._ask(ProcessingJob, "processing_jobs", limit=limit)
