"""Signing in and out, as a person does it."""

from __future__ import annotations

from tests.support.database import Connection
from tests.web.dashboard.conftest import SignIn


def test_sign_in_and_out(sign_in: SignIn, connection: Connection):
    browser = sign_in("read")
    page = browser.open("/dashboard")
    assert page.heading.startswith("The fleet is")
    left = browser.send(page.form("Sign out"))
    assert left.heading == "Sign in"
    assert browser.open("/dashboard").heading == "Sign in"
    assert connection.execute("SELECT count(*) FROM dashboard_session").fetchone() == (0,)
