"""HTTP requests of an adapter. What all have to heed is done here: deadlines, cancels, permits, sizes, secrets."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from generation_worker.domain.errors import (
    AttemptStopped,
    AttemptTimedOut,
    GateClosed,
    OutputRejected,
    ProviderTimedOut,
)
from generation_worker.providers.call_watch import AnswerTooLarge, CallWatch, watched
from generation_worker.providers.http_answers import Answer, NoAnswer

if TYPE_CHECKING:
    import httpx2

    from generation_worker.ports import Control

NO_HEADERS: Mapping[str, str] = {}


class HttpCalls:
    """Requests to ``provider`` over at most so many connections, which all threads share.

    ``base_url`` is for choosing the proxy. ``secret`` is taken out of an answer that repeats it, so that nothing
    that is made of the answer does.
    """

    def __init__(self, provider: str, base_url: str, *, connections: int, secret: str) -> None:
        self._provider = provider
        self._base_url = base_url
        self._connections = connections
        self._secret = secret.encode()
        self._client: httpx2.Client | None = None
        self._opening = threading.Lock()

    def warm_up(self) -> None:
        """Load the HTTP client, which takes a while; no request is made."""
        self._opened()

    def close(self) -> None:
        """Close the connections. A request after this opens new ones."""
        client, self._client = self._client, None
        if client is not None:
            client.close()

    def request(
        self,
        method: str,
        url: str,
        control: Control,
        *,
        limit: float,
        most_bytes: int,
        paid: bool = False,
        headers: Mapping[str, str] = NO_HEADERS,
        **content: Any,
    ) -> Answer:
        """One request and its whole answer, whatever the status; redirects are not followed.

        It takes at most ``limit`` seconds, however slowly bytes come, and ends at once when the attempt may not go on.
        One that is ``paid`` is admitted when its first byte is about to leave. ``content`` is httpx2's: json, files …

        Raises NoAnswer, OutputRejected if the answer has more than ``most_bytes``, GateClosed, and what
        ``Control.check`` raises.
        """
        control.check()
        client = self._opened()
        watch = CallWatch(control, limit=min(limit, control.seconds_left()), most_bytes=most_bytes, paid=paid)
        try:
            with watched(watch):
                plain = {**headers, "Accept-Encoding": "identity"}  # or nobody could bound the size of what comes
                answer = client.request(method, url, headers=plain, **content)
                return Answer(answer.status_code, answer.headers, self._without_secret(answer.content))
        except (AttemptStopped, AttemptTimedOut, GateClosed):
            raise
        except AnswerTooLarge:
            megabytes = most_bytes // 1_000_000
            failure: Exception = OutputRejected(f"{self._provider}'s answer is larger than {megabytes} MB.")
        except Exception as error:  # noqa: BLE001 - whatever the libraries raise: there is no answer
            failure = NoAnswer(type(error).__name__, sent=watch.sent, timed_out=isinstance(error, ProviderTimedOut))
        # Outside of the handler: the library's error would hang on to this one, and with it the request and the secret.
        raise failure

    def _without_secret(self, body: bytes) -> bytes:
        return body.replace(self._secret, b"[secret]") if self._secret else body

    def _opened(self) -> httpx2.Client:
        with self._opening:
            if self._client is None:
                from generation_worker.providers.watched_http import watched_client  # noqa: PLC0415 - only who calls

                self._client = watched_client(self._base_url, connections=self._connections)
            return self._client
