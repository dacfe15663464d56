"""Waiting for a prediction and fetching its picture: what is paid for is not given up because a request fails."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, NamedTuple, Self

from generation_worker.domain.errors import AttemptTimedOut, CallLost, CancelRequested, JobError
from generation_worker.providers.http_answers import Answer, NoAnswer
from generation_worker.providers.replicate_answers import UNSEEN, Prediction
from generation_worker.providers.replicate_errors import OPERATOR_MUST_ACT, error_of, wait_asked

if TYPE_CHECKING:
    from generation_worker.ports import Control
    from generation_worker.providers.replicate_http import ReplicateHttp

FIRST_PAUSE, LONGEST_PAUSE, GROWTH = 0.5, 5.0, 1.25
"""Seconds between two tries, and by how much each pause is longer than the one before."""
LONGEST_WAIT = 30.0
"""Seconds that a look is put off at most, whatever a 429 says."""
TIMES_MISSING = 3
"""A file that was not there so often is gone; the first time it may only be late."""
GONE = frozenset({403, 404, 410})
FAREWELL = 3.0
"""Seconds for telling Replicate that nobody waits any more."""


class Pace(NamedTuple):
    """Seconds of the first pause and of the longest."""

    first: float
    longest: float

    @classmethod
    def of_looks(cls, longest: float, *, told: bool) -> Self:
        """Short at first, since most pictures are quick; unhurried if Replicate was asked to tell us of the end."""
        return cls(longest / 4 if told else min(FIRST_PAUSE, longest), longest)


USUAL = Pace(FIRST_PAUSE, LONGEST_PAUSE)


class Pauses:
    """Between tries: each longer than the one before, and as long as asked."""

    def __init__(self, control: Control, pace: Pace = USUAL) -> None:
        self._control = control
        self._next, self._longest = pace

    def take(self, answer: Answer | None = None, *, wake_on: str | None = None) -> None:
        """Raises as ``Control.pause`` does. Who is asked to wait, waits: no notice changes that."""
        if answer is not None and answer.status == 429:
            asked = wait_asked(answer, datetime.now(UTC)) or 0.0
            self._control.pause(max(self._next, min(asked, LONGEST_WAIT)))
        else:
            self._control.pause(self._next, wake_on=wake_on)
        self._next = min(self._next * GROWTH, self._longest)


def await_end(http: ReplicateHttp, begun: Prediction, control: Control, pace: Pace) -> Prediction:
    """The prediction when it has ended; cancelled at Replicate if the job is, or if its time is over.

    Raises CallLost, ProviderRefused, and what ``Control.pause`` raises.
    """
    now, looks, tries = begun, Pauses(control, pace), Pauses(control)
    try:
        if begun.running and begun.status != UNSEEN:
            looks.take(wake_on=begun.id)
        while now.running:
            answer = _look(http, begun.id, control)
            seen = _prediction_in(answer)
            now = seen or now
            if now.running:
                # A look that failed is made up for soon: the notice that it was to answer does not come again.
                (looks if seen else tries).take(answer, wake_on=begun.id)
    except (CancelRequested, AttemptTimedOut):
        _cancel(http, begun.id)
        raise
    return now


def download(http: ReplicateHttp, address: str, control: Control) -> bytes:
    """The file there. Raises CallLost if it is gone, OutputRejected, and what ``Control.pause`` raises."""
    pauses, missing = Pauses(control), 0
    while True:
        answer = _fetch(http, address, control)
        if answer and answer.status == 200 and answer.body:
            return answer.body
        missing += answer is not None and answer.status in GONE
        if missing == TIMES_MISSING:
            raise CallLost("Replicate has made the picture, but its file is gone.")
        pauses.take(answer)


def _look(http: ReplicateHttp, prediction_id: str, control: Control) -> Answer | None:
    try:
        return http.prediction(prediction_id, control)
    except NoAnswer:
        return None


def _prediction_in(answer: Answer | None) -> Prediction | None:
    """None if Replicate does not say how it stands: that is no reason to give it up."""
    if answer is None:
        return None
    if answer.status in (404, 410):
        raise CallLost(f"Replicate does not know the prediction any more ({answer.status}).")
    if answer.status in OPERATOR_MUST_ACT:
        raise error_of(answer, "", datetime.now(UTC))
    return Prediction.read(answer.json()) if answer.status == 200 else None


def _fetch(http: ReplicateHttp, address: str, control: Control) -> Answer | None:
    try:
        return http.download(address, control)
    except NoAnswer:
        return None


def _cancel(http: ReplicateHttp, prediction_id: str) -> None:
    """As well as it goes: what was begun may be charged anyway, and Cancel-After ends it if this does not arrive."""
    with suppress(NoAnswer, JobError):
        http.cancel(prediction_id, _Farewell())


class _Farewell:
    """What is left of an attempt that may not go on."""

    def check(self) -> None: ...

    def admit(self) -> None: ...

    def pause(self, seconds: float, *, wake_on: str | None = None) -> None: ...

    def seconds_left(self) -> float:
        return FAREWELL

    def remember(self, provider_ref: str) -> None: ...
