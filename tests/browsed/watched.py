"""A page of a real browser, and all that it complains about or does behind one's back."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

from playwright.sync_api import BrowserContext, ConsoleMessage, Dialog, Page, Request

UNREACHED = ("Failed to load resource", "Failed to fetch")
"""Said of each answer that is an error, or does not come."""


class Complaints:
    def __init__(self, host: str) -> None:
        self.found: list[str] = []
        self.expects_errors = False
        """Whether answers that are errors are what the test is about."""
        self._host = host

    def hear(self, message: ConsoleMessage) -> None:
        expected = self.expects_errors and any(words in message.text for words in UNREACHED)
        if message.type in ("error", "warning") and not expected:
            self.found.append(f"{message.type}: {message.text}")

    def see(self, dialog: Dialog) -> None:
        self.found.append(f"dialog: {dialog.message}")
        dialog.dismiss()

    def follow(self, request: Request) -> None:
        url = urlsplit(request.url)
        if url.scheme not in ("data", "blob") and url.netloc != self._host:
            self.found.append(f"asked of another host: {request.url}")

    def fail(self, error: Any) -> None:
        self.found.append(f"script failed: {error}")


@contextmanager
def watched(context: BrowserContext, base_url: str) -> Generator[tuple[Page, Complaints]]:
    """Fails if the page had anything to complain about."""
    complaints = Complaints(urlsplit(base_url).netloc)
    page = context.new_page()
    page.on("console", complaints.hear)
    page.on("dialog", complaints.see)
    page.on("request", complaints.follow)
    page.on("pageerror", complaints.fail)
    yield page, complaints
    page.close()
    assert not complaints.found, complaints.found
