"""Google's image models, through the SDK google-genai. One call is one HTTP request: the queue retries, not the SDK.

Every call ends in one of these ways:

| response | outcome | paid |
|---|---|---|
| an image (the first that is not a thought) | Generated | yes |
| the prompt is blocked | ContentBlocked | no |
| the image is blocked: SAFETY, PROHIBITED_CONTENT, IMAGE_SAFETY, RECITATION … | ContentBlocked | maybe |
| text instead of an image, an empty body, any other finish reason | NoImage | yes |
| an image that is not base64, a body larger than 64 MB | OutputRejected | yes |
| PUP_LIMITED_DISABLED, 401, 402, 403, 400 for the key or for billing, a redirect | ProviderRefused | no |
| 404, another 400 or 4xx | ProviderRejected | no |
| 429 | ProviderLimited, with the wait that the response names | no |
| 500, 502, 503, also as HTML | ProviderUnavailable | no |
| 504 | ProviderTimedOut | maybe |
| no connection, or the request was not sent whole | ProviderUnavailable | no |
| the connection breaks after the request; an incomplete body; not JSON | ProviderUnavailable | maybe |
| not complete after ``timeout``, silent or dripping | ProviderTimedOut | maybe, if the request was sent |
| an earlier call is to be resumed: Gemini stores no responses | CallLost | yes |
| the attempt is stopped (cancelled, lease lost, deadline) | what ``Control.check`` raises | unknown |
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, TypeVar

from generation_worker.domain import errors
from generation_worker.domain.finding import Verdict
from generation_worker.ports import Control, Generated, GenerationRequest
from generation_worker.providers import gemini_answers
from generation_worker.providers.http import CallWatch, DeadlineControl, ResponseTooLarge, use_watch

if TYPE_CHECKING:
    from generation_worker.providers.gemini_client import GeminiClient

Response = TypeVar("Response")

LARGEST_RESPONSE = 64_000_000
"""Bytes. The largest picture, a 4K PNG in base64, has about half of that."""


class GeminiProvider:
    """One key of Google's API. Safe to use from up to ``threads`` threads at once.

    ``timeout`` bounds one call, in seconds; the attempt's own deadline may end it earlier. Raises ValueError for a key
    that cannot be sent in a header.
    """

    name = "gemini"

    def __init__(
        self, *, key: str, model: str, base_url: str | None, api_version: str, timeout: float, threads: int
    ) -> None:
        if not (key.isascii() and key.isprintable() and key.strip() == key != ""):
            raise ValueError("the Gemini key must be printable ASCII without spaces around it: copy it again")
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
        """Load the SDK and build its client; sends no request."""
        self._warm_client()

    def close(self) -> None:
        """Close the connections. A later call opens new ones."""
        client, self._client = self._client, None
        if client is not None:
            client.close()

    def generate(self, request: GenerationRequest, control: Control) -> Generated:
        """Make one call; the table above lists how it can end."""
        control.check()
        if request.resume is not None:
            raise errors.CallLost("Gemini stores no responses: the response to the earlier call is lost.")
        client = self._warm_client()
        limit = min(self._timeout, control.seconds_left())
        watch = CallWatch(control, limit=limit, most_bytes=LARGEST_RESPONSE, paid=True)
        body = self._watched(lambda: client.generate(self.model, request, watch.limit), watch)
        return gemini_answers.read_response(body, self.model)

    def check(self, *, seconds: float) -> Verdict:
        """Look up the model with this key, which costs nothing."""
        client = self._warm_client()
        watch = CallWatch(DeadlineControl(seconds), limit=min(self._timeout, seconds), most_bytes=LARGEST_RESPONSE)
        try:
            model = self._watched(lambda: client.get_model(self.model, watch.limit), watch)
        except errors.JobError as error:
            return gemini_answers.error_verdict(error, self.key_label)
        return gemini_answers.model_verdict(model, self.key_label, self.model)

    def _watched(self, call: Callable[[], Response], watch: CallWatch) -> Response:
        try:
            with use_watch(watch):
                return call()
        except (errors.JobError, errors.AttemptStopped):
            raise
        except Exception as error:  # noqa: BLE001 - the SDK and three libraries below it raise anything
            caught = error.with_traceback(None)
        # Outside the handler: as its context, the library's error would keep the request and the key alive.
        raise self._failure(caught, watch)

    def _failure(self, error: Exception, watch: CallWatch) -> errors.JobError:
        """The job error for ``error``. Its own text is dropped: it can contain headers, and so the key."""
        if watch.status not in (None, 200):
            # Without an ErrorResponse the SDK could not read the body: the status alone decides.
            response = (
                error
                if isinstance(error, gemini_answers.ErrorResponse)
                else gemini_answers.ErrorResponse(watch.status, None, {})
            )
            details = gemini_answers.ErrorDetails.read(response.code, response.body, response.headers, key=self._key)
            return gemini_answers.job_error(details, self.model, datetime.now(UTC))
        if isinstance(error, ResponseTooLarge):
            return errors.OutputRejected(f"Gemini's response is larger than {LARGEST_RESPONSE // 1_000_000} MB.")
        watch.check()
        return _without_response(type(error), watch)

    def _warm_client(self) -> GeminiClient:
        with self._building:
            if self._client is None:
                self._client = self._build()
            return self._client

    def _build(self) -> GeminiClient:
        from generation_worker.providers.gemini_client import GeminiClient  # noqa: PLC0415 - takes a second

        return GeminiClient(
            key=self._key,
            base_url=self._base_url,
            api_version=self._api_version,
            timeout=self._timeout,
            threads=self._threads,
        )


def _without_response(error: type[Exception], watch: CallWatch) -> errors.JobError:
    """The error of a call without a response: how far the call came says more than the library's exception."""
    if watch.sent:
        return errors.ProviderUnavailable(
            f"The connection to Gemini ended in the middle of the response ({error.__name__}).", spent=True
        )
    if error.__module__.startswith(("httpcore2", "httpx2")):
        return errors.ProviderUnavailable(f"The request did not reach Gemini ({error.__name__}).")
    if issubclass(error, ValueError):
        return errors.ProviderRejected(f"The SDK cannot encode the request ({error.__name__}).")
    return errors.InternalError(f"{error.__name__} before the request to Gemini was sent.")
