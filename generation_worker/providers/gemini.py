"""Google's image models, through the SDK google-genai. One call is one HTTP request: it is the queue that tries again.

However a call ends, it is one of these:

| what comes back | outcome | paid |
|---|---|---|
| an image (the first that is not a thought) | Generated | yes |
| the prompt is blocked | ContentBlocked | no |
| the image is blocked: SAFETY, PROHIBITED_CONTENT, IMAGE_SAFETY, RECITATION … | ContentBlocked | maybe |
| text instead of an image, nothing at all, any other reason | NoImage | yes |
| an image that is not base64, an answer larger than 64 MB | OutputRejected | yes |
| PUP_LIMITED_DISABLED, 401, 402, 403, 400 for the key or for billing, a redirect | ProviderRefused | no |
| 404, another 400 or 4xx | ProviderRejected | no |
| 429 | ProviderLimited, with the wait that was asked for | no |
| 500, 502, 503, also as HTML | ProviderUnavailable | no |
| 504 | ProviderTimedOut | maybe |
| no connection, or the request not taken whole | ProviderUnavailable | no |
| the connection breaks after the request; half an answer; not JSON | ProviderUnavailable | maybe |
| not over after ``timeout``, be it by silence or by drips | ProviderTimedOut | maybe, if the request went out |
| nothing, because an earlier call is asked for: Gemini keeps no answers | CallLost | yes |
| the attempt may not go on (cancelled, lease lost, too late) | what ``Control.check`` raises | unknown |
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, TypeVar

from generation_worker.domain.errors import (
    AttemptStopped,
    CallLost,
    InternalError,
    JobError,
    OutputRejected,
    ProviderRejected,
    ProviderUnavailable,
)
from generation_worker.domain.finding import Verdict
from generation_worker.ports import Control, Generated, GenerationRequest
from generation_worker.providers import gemini_answers as gemini_check
from generation_worker.providers.gemini_answers import ErrorAnswer, Refusal, error_of, read_answer
from generation_worker.providers.http import AnswerTooLarge, CallWatch, Unattended, watched

if TYPE_CHECKING:
    from generation_worker.providers.gemini_client import GeminiClient

Asked = TypeVar("Asked")

LARGEST_ANSWER = 64_000_000
"""Bytes. The largest picture, as 4K PNG in base64, has about half of that."""


class GeminiProvider:
    """One key of Google's API. Safe to use from many threads at once; ``threads`` is how many these may be.

    ``timeout`` is the longest that a call may take, in seconds; the attempt's own deadline may end it earlier.
    """

    name = "gemini"

    def __init__(
        self, *, key: str, model: str, base_url: str | None, api_version: str, timeout: float, threads: int
    ) -> None:
        if not (key.isascii() and key.isprintable() and key.strip() == key != ""):
            raise ValueError("the key must be printable ASCII without spaces around it")
        self.key_label = "gemini-" + hashlib.sha256(key.encode()).hexdigest()[:8]
        self.model = model
        self._key = key
        self._base_url = base_url
        self._api_version = api_version
        self._timeout = timeout
        self._threads = threads
        self._client: GeminiClient | None = None
        self._building = threading.Lock()

    def __repr__(self) -> str:
        return f"GeminiProvider(key_label={self.key_label!r}, model={self.model!r})"

    def warm_up(self) -> None:
        """Load the SDK and build its client; no request is made."""
        self._warm_client()

    def close(self) -> None:
        """Close the connections. A call after this opens new ones."""
        client, self._client = self._client, None
        if client is not None:
            client.close()

    def generate(self, request: GenerationRequest, control: Control) -> Generated:
        """One call, see the table above."""
        control.check()
        if request.resume is not None:
            raise CallLost("Gemini keeps no answers: what was not received is lost.")
        client = self._warm_client()
        limit = min(self._timeout, control.seconds_left())
        watch = CallWatch(control, limit=limit, most_bytes=LARGEST_ANSWER, paid=True)
        return read_answer(self._watched(lambda: client.ask(self.model, request, watch.limit), watch), self.model)

    def check(self, *, seconds: float) -> Verdict:
        """Look the model up with this key, which costs nothing."""
        client = self._warm_client()
        watch = CallWatch(Unattended(seconds), limit=min(self._timeout, seconds), most_bytes=LARGEST_ANSWER)
        try:
            found = self._watched(lambda: client.look(self.model, watch.limit), watch)
        except JobError as error:
            return gemini_check.refused(error, self.key_label)
        return gemini_check.judge(found, self.key_label, self.model)

    def _watched(self, ask: Callable[[], Asked], watch: CallWatch) -> Asked:
        try:
            with watched(watch):
                return ask()
        except (JobError, AttemptStopped):
            raise
        except Exception as error:  # noqa: BLE001 - whatever the SDK and three libraries below it raise has an outcome
            caught = error.with_traceback(None)
        # Outside of the handler: the library's error would hang on to this one, and with it the request and the key.
        raise self._failure(caught, watch)

    def _failure(self, error: Exception, watch: CallWatch) -> JobError:
        """What ``error`` amounts to. Its own words are not told: they can hold headers, and so the key."""
        if watch.status not in (None, 200):
            answer = error if isinstance(error, ErrorAnswer) else ErrorAnswer(watch.status, None, {})  # text unreadable
            refusal = Refusal.read(answer.code, answer.body, answer.headers, key=self._key)
            return error_of(refusal, self.model, datetime.now(UTC))
        if isinstance(error, AnswerTooLarge):
            return OutputRejected(f"Gemini's answer is larger than {LARGEST_ANSWER // 1_000_000} MB.")
        watch.check()
        return _broken(type(error), watch)

    def _warm_client(self) -> GeminiClient:
        with self._building:
            if self._client is None:
                self._client = self._build()
            return self._client

    def _build(self) -> GeminiClient:
        from generation_worker.providers.gemini_client import GeminiClient  # noqa: PLC0415 - it takes a second

        return GeminiClient(
            key=self._key,
            base_url=self._base_url,
            api_version=self._api_version,
            timeout=self._timeout,
            threads=self._threads,
        )


def _broken(error: type[Exception], watch: CallWatch) -> JobError:
    """An error that is no answer: where the call stood tells more than what the library calls it."""
    if watch.sent:
        return ProviderUnavailable(f"The answer broke off ({error.__name__}).", spent=True)
    if error.__module__.startswith(("httpcore2", "httpx2")):
        return ProviderUnavailable(f"The request did not reach Gemini ({error.__name__}).")
    if issubclass(error, ValueError):
        return ProviderRejected(f"The request cannot be put into Gemini's form ({error.__name__}).")
    return InternalError(f"{error.__name__} before the request to Gemini was sent.")
