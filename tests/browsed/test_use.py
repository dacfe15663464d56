"""What somebody does with the mouse, with the keyboard, without scripts."""

from __future__ import annotations

from collections.abc import Callable

from playwright.sync_api import Page, expect

from tests.browsed.conftest import OpenPage, enter
from tests.support import jobs
from tests.web.registry import World

ANEW = 3000
"""Milliseconds of the page's clock in which it shows itself anew."""
SignedIn = Callable[..., Page]


def pending(page: Page, count: int) -> None:
    expect(page.locator(".tile.pending")).to_contain_text(f"{count} pending", timeout=30_000)


def test_sign_in_and_out(world: World, open_page: OpenPage, secret: Callable[..., str]):
    page, _ = open_page()
    enter(page, secret("read"))
    expect(page.get_by_role("heading", level=1)).to_contain_text("The fleet is")
    assert page.evaluate("document.cookie") == ""
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Sign in")
    page.goto("/dashboard")
    expect(page.get_by_role("heading", level=1)).to_have_text("Sign in")


def test_with_the_keyboard_alone(world: World, open_page: OpenPage, secret: Callable[..., str]):
    page, _ = open_page()
    key = secret("read")
    page.goto("/dashboard?span=day")
    page.keyboard.type(key)  # the field has the focus
    page.keyboard.press("Enter")
    page.wait_for_url("**/dashboard?span=day")
    page.keyboard.press("Tab")
    expect(page.get_by_text("Skip to the page")).to_be_focused()
    for _ in range(40):
        if page.evaluate("document.activeElement.textContent.trim()") == "Sign out":
            break
        page.keyboard.press("Tab")
    outline = "getComputedStyle(document.activeElement).outlineStyle"
    assert page.evaluate(outline) != "none"
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text("Sign in")


def test_without_scripts(world: World, open_page: OpenPage, secret: Callable[..., str]):
    page, _ = open_page(java_script_enabled=False)
    enter(page, secret("read"))
    expect(page.get_by_role("heading", level=1)).to_contain_text("The fleet is")
    expect(page.get_by_role("button", name="Live")).to_be_hidden()
    page.get_by_role("link", name="day", exact=True).click()
    page.wait_for_url("**/dashboard?span=day")
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Sign in")


def test_what_changes_is_shown_without_loading_the_page(world: World, signed_in: SignedIn):
    page = signed_in()
    pending(page, 4)
    page.evaluate("window.same = true")
    day = page.get_by_role("link", name="day", exact=True)
    day.focus()
    jobs.enqueue(world.connection)
    pending(page, 5)
    assert page.evaluate("window.same") is True
    expect(day).to_be_focused()


def test_it_can_be_stopped(world: World, signed_in: SignedIn):
    page = signed_in()
    pending(page, 4)
    page.get_by_role("button", name="Live").click()
    expect(page.get_by_role("button", name="Stopped")).to_have_attribute("aria-pressed", "false")
    page.clock.install()
    page.reload()  # it stays so
    expect(page.get_by_role("button", name="Stopped")).to_be_visible()
    jobs.enqueue(world.connection)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.clock.run_for(10 * ANEW)
    assert asked == []
    page.get_by_role("button", name="Stopped").click()
    page.clock.run_for(ANEW)
    pending(page, 5)


def test_who_writes_is_not_disturbed(world: World, signed_in: SignedIn):
    page = signed_in()
    page.clock.install()
    page.reload()
    page.evaluate(
        "document.getElementById('page').insertAdjacentHTML('beforeend', '<input aria-label=\"words\"><b>mine</b>')"
    )
    field = page.get_by_label("words")
    field.fill("half a sent")
    jobs.enqueue(world.connection)
    page.clock.run_for(10 * ANEW)
    expect(field).to_be_focused()
    expect(field).to_have_value("half a sent")
    page.evaluate("document.activeElement.blur()")
    page.clock.run_for(ANEW)
    pending(page, 5)


def test_a_server_that_goes_away_and_comes_back(world: World, open_page: OpenPage, secret: Callable[..., str]):
    page, complaints = open_page()
    enter(page, secret("admin"))
    notice = page.get_by_text("The server does not answer")
    expect(notice).to_be_hidden()
    complaints.expects_errors = True
    page.context.set_offline(True)
    expect(notice).to_be_visible(timeout=30_000)
    pending(page, 4)
    page.context.set_offline(False)
    expect(notice).to_be_hidden(timeout=30_000)
    jobs.enqueue(world.connection)
    pending(page, 5)


def test_a_page_whose_session_has_ended_leads_to_sign_in(world: World, open_page: OpenPage, secret: Callable[..., str]):
    page, complaints = open_page()
    enter(page, secret("read"))
    complaints.expects_errors = True
    world.connection.execute("DELETE FROM dashboard_session")
    page.wait_for_url("**/dashboard/sign-in?back=%2Fdashboard")
    expect(page.get_by_role("heading", level=1)).to_have_text("Sign in")
