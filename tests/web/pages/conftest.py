"""Browsers that look at the dashboard of a whole application on loopback."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import count
from time import monotonic

import pytest

from generation_worker.domain.token import Scope
from generation_worker.web.pages import render as look
from tests.web.conftest import MakeKey
from tests.web.pages.browser import Browser
from tests.web.served_api import Api

OpenBrowser = Callable[..., Browser]
SignIn = Callable[..., Browser]


_hours = count(1)


@pytest.fixture(autouse=True)
def looks_are_old(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test an hour after the one before: what that has left to be seen by all is not shown any more."""
    ahead = 3600.0 * next(_hours)
    monkeypatch.setattr(look, "monotonic", lambda: monotonic() + ahead)


@pytest.fixture
def open_browser(served: Api) -> Iterator[OpenBrowser]:
    """A browser of its own for each call; headers are sent with whatever it asks."""
    with ExitStack() as stack:

        def make(base_url: str | None = None, **headers: str) -> Browser:
            browser = Browser(base_url or str(served.client.base_url), **headers)
            stack.callback(browser.close)
            return browser

        yield make


@pytest.fixture
def secret(key: MakeKey) -> Callable[..., str]:
    """Makes a key, and gives what is entered to sign in."""
    return lambda *scopes, **more: key(*scopes, **more)["Authorization"].removeprefix("Bearer ")


@pytest.fixture
def sign_in(open_browser: OpenBrowser, secret: Callable[..., str]) -> SignIn:
    """A browser that is signed in with a new key of these scopes."""

    def make(*scopes: Scope) -> Browser:
        browser = open_browser()
        page = browser.sign_in(secret(*(scopes or ("read",))))
        assert page.status == 200, page.text
        return browser

    return make
