"""Replicate's endpoints, one HTTP request each. What an answer means is decided elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urljoin, urlsplit

from generation_worker.domain.errors import OutputRejected
from generation_worker.ports import Control, Picture
from generation_worker.providers.http_answers import Answer
from generation_worker.providers.http_calls import HttpCalls

LARGEST_ANSWER = 8_000_000
"""Bytes of JSON. A picture as a data: URI is Replicate's choice for small ones only."""
LARGEST_FILE = 64_000_000
DOWNLOAD_WITHIN = 60.0
"""Seconds for one try to download a picture, all of it."""
MOST_REDIRECTS = 3


class ReplicateHttp:
    """One connection pool for all threads. A request takes at most ``timeout`` seconds, however slowly bytes come.

    Requests raise NoAnswer, and what ``Control.check`` raises.
    """

    def __init__(self, *, token: str, base_url: str, timeout: float, threads: int) -> None:
        self._base = base_url.rstrip("/")
        self._timeout = timeout
        self._token = token
        self._calls = HttpCalls("Replicate", self._base, connections=threads, secret=token)

    def warm_up(self) -> None:
        self._calls.warm_up()

    def create(self, path: str, body: Mapping[str, Any], cancel_after: int, control: Control) -> Answer:
        """Without ``Prefer: wait``: the answer comes at once, so that the id is known before the work is done."""
        headers = {"Cancel-After": f"{cancel_after}s"}
        return self._ask("POST", path, control, json=body, headers=headers, paid=True)

    def prediction(self, prediction_id: str, control: Control) -> Answer:
        return self._ask("GET", f"/v1/predictions/{prediction_id}", control)

    def look(self, path: str, control: Control) -> Answer:
        """Read what costs nothing."""
        return self._ask("GET", path, control)

    def cancel(self, prediction_id: str, control: Control) -> Answer:
        return self._ask("POST", f"/v1/predictions/{prediction_id}/cancel", control)

    def upload(self, name: str, picture: Picture, control: Control) -> Answer:
        return self._ask("POST", "/v1/files", control, files={"content": (name, picture.data, picture.content_type)})

    def download(self, url: str, control: Control) -> Answer:
        """From wherever the picture lies: without the token, which is nobody's business but Replicate's.

        Raises OutputRejected too.
        """
        limit = max(self._timeout, DOWNLOAD_WITHIN)
        for _ in range(MOST_REDIRECTS + 1):
            self._check_address(url)
            answer = self._calls.request("GET", url, control, limit=limit, most_bytes=LARGEST_FILE)
            if not (300 <= answer.status < 400 and "location" in answer.headers):
                return answer
            url = urljoin(url, answer.headers["location"])
        raise OutputRejected("Replicate's picture is not where it is said to be, but always elsewhere.")

    def close(self) -> None:
        self._calls.close()

    def _check_address(self, url: str) -> None:
        """Only the web; and unencrypted only for whoever speaks to the API so too, which is a test."""
        schemes = {"https", urlsplit(self._base).scheme}
        try:
            address = urlsplit(url)
            if address.scheme in schemes and address.hostname:
                return
        except ValueError:
            pass
        raise OutputRejected("Replicate's picture is not at an address on the web.")

    def _ask(
        self,
        method: str,
        path: str,
        control: Control,
        *,
        headers: Mapping[str, str] | None = None,
        paid: bool = False,
        **content: Any,
    ) -> Answer:
        headers = {"Authorization": f"Bearer {self._token}", **(headers or {})}
        limits: dict[str, Any] = {"limit": self._timeout, "most_bytes": LARGEST_ANSWER}
        return self._calls.request(method, self._base + path, control, headers=headers, paid=paid, **limits, **content)
