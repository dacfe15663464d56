"""Questions about what came of the jobs of late."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from generation_worker.db.answers.results import (
    CallsOfKey,
    DeadLetter,
    DeadLetters,
    DuplicateCalls,
    EndedSpan,
    FailureCode,
    Throughput,
)
from generation_worker.db.insights.asking import Asking
from generation_worker.db.insights.bounds import FAR, SAMPLE
from generation_worker.domain.refusals import InvalidRequest


class ResultInsights(Asking):
    def throughput(self, *, cap: int = SAMPLE) -> list[Throughput]:
        """What ended in the last hour and the last day; scaled up beyond ``cap`` jobs."""
        return self._ask(Throughput, "throughput", cap=cap)

    def history(self, *, seconds: float, spans: int, cap: int = SAMPLE) -> list[EndedSpan]:
        """What ended in each of the latest ``spans`` of ``seconds`` each, the oldest first."""
        return self._ask(EndedSpan, "history", seconds=seconds, spans=spans, cap=cap)

    def failures_by_code(self, *, seconds: float = 86_400, cap: int = SAMPLE) -> list[FailureCode]:
        """The reasons of failures within the last ``seconds``, the most frequent first."""
        return self._ask(FailureCode, "failures_by_code", seconds=seconds, cap=cap)

    def duplicate_calls(self, *, seconds: float = 86_400, cap: int = FAR) -> DuplicateCalls:
        """What providers were, or may have been, paid for more than once within the last ``seconds``."""
        return self._ask(DuplicateCalls, "duplicate_calls", seconds=seconds, cap=cap)[0]

    def calls(self, *, seconds: float = 3600, cap: int = SAMPLE) -> list[CallsOfKey]:
        """What came of the calls to providers within the last ``seconds``, by key, model and outcome."""
        return self._ask(CallsOfKey, "calls", seconds=seconds, cap=cap)

    def dead_letters(
        self,
        *,
        limit: int = 50,
        cursor: str | None = None,
        code: str | None = None,
        user: str | None = None,
    ) -> DeadLetters:
        """Failed jobs, the latest first, a page at a time. Raises InvalidRequest for a cursor that is not ours."""
        found = self.look_at_dead_letters(limit=limit, cursor=cursor, code=code, user=user)
        letters = list(found.letters)
        while found.cursor is not None and len(letters) < limit:
            found = self.look_at_dead_letters(limit=limit - len(letters), cursor=found.cursor, code=code, user=user)
            letters += found.letters
        return DeadLetters(letters, found.cursor)

    def look_at_dead_letters(
        self, *, limit: int, cursor: str | None, code: str | None, user: str | None, cap: int = FAR
    ) -> DeadLetters:
        """As ``dead_letters``, among the next ``cap`` of them: a page may be short, even empty, and not the last."""
        before_time, before_id = _read_cursor(cursor)
        cap = limit + 1 if code is None and user is None else cap
        found = self._rows(
            "dead_letters",
            limit=limit + 1,
            cap=cap,
            before_time=before_time,
            before_id=before_id,
            code=code,
            user=user,
        )
        letters = [DeadLetter(**{name: row[name] for name in DeadLetter._fields}) for row in found if row["id"]]
        if len(letters) > limit:
            return DeadLetters(letters[:limit], _cursor(letters[limit - 1].finished_at, letters[limit - 1].id))
        if found and found[0]["looked"] >= cap:
            return DeadLetters(letters, _cursor(found[0]["reached_at"], found[0]["reached"]))
        return DeadLetters(letters, None)


def _cursor(at: datetime, job_id: UUID) -> str:
    return f"{at.isoformat()}_{job_id}"


def _read_cursor(cursor: str | None) -> tuple[datetime | None, UUID | None]:
    if cursor is None:
        return None, None
    time, _, job_id = cursor.partition("_")
    try:
        return datetime.fromisoformat(time), UUID(job_id)
    except ValueError:
        raise InvalidRequest("cursor: is not one that a page of dead letters ended with") from None
