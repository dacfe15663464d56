"""A real Chromium looks at a whole application on loopback, where `python -m tests.browser` has found one."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from typing import Any

import pytest
from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright

from tests.browsed.watched import Complaints, watched
from tests.support.database import Connection
from tests.support.populated import Population
from tests.web.conftest import MakeKey, key, population, served_alone
from tests.web.registry import World
from tests.web.served_api import Api

__all__ = ["key", "population", "served_alone"]

collect_ignore_glob = [] if "TEST_CHROMIUM" in os.environ else ["test_*.py"]
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
LONGEST = 30_000
"""Milliseconds in which something must happen that a test waits for."""
OpenPage = Callable[..., tuple[Page, Complaints]]


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=os.environ["TEST_CHROMIUM"], args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture
def base_url(served_alone: Api) -> str:
    return str(served_alone.client.base_url).rstrip("/")


@pytest.fixture
def world(served_alone: Api, connection: Connection, population: Population, key: MakeKey) -> World:
    for result in ("ada/1.webp", "thumbnails/ada/1.webp"):
        place = served_alone.storage / result
        place.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8)).save(place, "WEBP")
    return World(served_alone, connection, population, key)


@pytest.fixture
def open_page(chromium: Browser, base_url: str) -> Iterator[OpenPage]:
    """A page in a browser that knows nothing yet; at the end it must not have complained."""
    with ExitStack() as stack:

        def make(**options: Any) -> tuple[Page, Complaints]:
            context = chromium.new_context(base_url=base_url, **options)
            stack.callback(context.close)
            context.set_default_timeout(LONGEST)
            page: AbstractContextManager[tuple[Page, Complaints]] = watched(context, base_url)
            return stack.enter_context(page)

        yield make


@pytest.fixture
def secret(key: MakeKey) -> Callable[..., str]:
    return lambda *scopes, **more: key(*scopes, **more)["Authorization"].removeprefix("Bearer ")


@pytest.fixture
def signed_in(open_page: OpenPage, secret: Callable[..., str]) -> Callable[..., Page]:
    """A page that shows the overview to somebody who may do everything."""

    def make(**options: Any) -> Page:
        page, _ = open_page(**options)
        enter(page, secret("admin"))
        return page

    return make


def enter(page: Page, key: str) -> None:
    page.goto("/dashboard")
    page.get_by_label("API key").fill(key)
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url("**/dashboard")
