"""What others wrote is never run, and pages of others can do nothing with ours."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from playwright.sync_api import Browser, Page, expect

from generation_worker.db.access import create_token
from tests.browsed.conftest import LONGEST, enter
from tests.support import jobs
from tests.support.database import queries_on
from tests.support.webhooks import put_endpoint
from tests.web.pages.registry import SEEN
from tests.web.registry import World

RUN = "window.ran=1,alert(1)"
PAYLOADS = [
    f"<script>{RUN}</script>",
    f"</script><script>{RUN}</script>",
    f"<img src=x onerror={RUN}>",
    f'"><img src=x onerror={RUN}>',
    f"'><svg onload={RUN}>",
    f"<svg/onload={RUN}>",
    f'" onmouseover="{RUN}" autofocus onfocus="{RUN}',
    f"' onfocus='{RUN}' autofocus '",
    f"javascript:{RUN}",
    f'<a href="javascript:{RUN}">x</a>',
    f'<iframe srcdoc="<script>parent.{RUN}</script>">',
    "<iframe src=//evil.example>",
    "<link rel=stylesheet href=//evil.example>",
    '<meta http-equiv=refresh content="0;url=//evil.example">',
    "<form action=//evil.example><button>Sign out",
    "<base href=//evil.example/>",
    f'<div hx-get="/x" hx-trigger="load" hx-on:click="{RUN}">x</div>',
    f'<style>@import "//evil.example";</style><p style="background:url(//evil.example)" onclick={RUN}>',
    "{{ 7*7 }}{% raw %}<!--",
    f"]]>--></textarea></title></main><details open ontoggle={RUN}>",
]


def plant(world: World) -> None:
    """Each of them wherever somebody else's words are kept."""
    connection = world.connection
    for number, text in enumerate(PAYLOADS):
        jobs.grant(connection, text, 10, text)
        payload = {"prompt": text, "negative_prompt": text}
        jobs.put_job(connection, "failed", user_id=text, payload=payload, error_code="x", error_message=text)
        jobs.put_job(connection, "pending", user_id=text, payload=payload)
        create_token(queries_on(connection), text[:100], ["read"])
        put_endpoint(
            connection, url=f"https://a.example/{number}?{text}", user_id=text, disabled_at=jobs.NOW, disabled_for=text
        )
        connection.execute(
            "INSERT INTO audit_event (actor, action, target, reason, before, after)"
            " VALUES (%(text)s, left(%(text)s, 60), %(text)s, %(text)s,"
            " to_jsonb(%(text)s::text), to_jsonb(%(text)s::text))",
            {"text": text},
        )
    jobs.configure(connection, **{f"paused__user__{PAYLOADS[0]}": {"reason": PAYLOADS[2], "by": PAYLOADS[4]}})
    connection.execute("UPDATE job_attempt SET worker = %s", [PAYLOADS[3]])
    connection.execute("UPDATE worker_process SET id = %s", [PAYLOADS[3]])


def test_nothing_that_others_wrote_is_run(world: World, signed_in: Callable[..., Page]):
    plant(world)
    page = signed_in()
    for place in SEEN:
        page.goto(place.address(world))
        page.locator("main").wait_for()
        assert page.evaluate("window.ran") is None, place.path
        assert page.locator("main script, iframe, base, main [onerror], main [onload], main [onfocus]").count() == 0
        assert page.locator("main a[href^='javascript:'], main [hx-on\\:click]").count() == 0


@pytest.fixture
def evil() -> Iterator[str]:
    """A site of somebody else's on this machine; its page is what ``body`` of the address says."""

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(b"<!doctype html><title>evil</title><body></body>")

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            """Nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://localhost:{server.server_port}/"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def visited(chromium: Browser, base_url: str, evil: str, secret: Callable[..., str]) -> Iterator[Page]:
    """The evil page, in the browser of somebody who is signed in. It may complain as it likes."""
    context = chromium.new_context(base_url=base_url)
    context.set_default_timeout(LONGEST)
    page = context.new_page()
    enter(page, secret("admin"))
    page.goto(evil)
    yield page
    context.close()


SEND = """(url) => {
  const form = document.createElement("form");
  form.method = "post"; form.action = url;
  form.innerHTML = '<input name="proof" value="x"><input name="key" value="x">';
  document.body.append(form); form.submit();
}"""
FETCH = """(url) => Promise.all(["no-cors", "cors"].map((mode) =>
  fetch(url, {mode, credentials: "include"}).then((answer) => answer.text()).catch(() => "")))"""
FRAME = """(url) => new Promise((done) => {
  const frame = document.createElement("iframe");
  frame.onload = () => done(true); frame.src = url; document.body.append(frame);
})"""


@pytest.mark.parametrize("path", ["/dashboard/sign-out", "/dashboard/sign-in"])
def test_another_site_sends_no_form(world: World, visited: Page, base_url: str, path: str):
    with visited.expect_navigation():
        visited.evaluate(SEND, base_url + path)
    expect(visited.locator("main")).to_contain_text("not_from_here")
    visited.goto("/dashboard")
    expect(visited.get_by_role("heading", level=1)).to_contain_text("The fleet is")


def test_another_site_reads_nothing(world: World, visited: Page, base_url: str):
    assert visited.evaluate(FETCH, f"{base_url}/dashboard") == ["", ""]


def test_another_site_frames_nothing(world: World, visited: Page, base_url: str):
    visited.evaluate(FRAME, f"{base_url}/dashboard")
    [frame] = [frame for frame in visited.frames if frame.parent_frame is not None]
    assert "The fleet" not in frame.content()
    assert frame.locator("main").count() == 0


def test_a_link_on_another_site_leads_to_the_page(world: World, visited: Page, base_url: str):
    """Though the browser shows no cookie of ours on the way that begins there."""
    visited.evaluate("(url) => { location.href = url }", f"{base_url}/dashboard?span=day")
    expect(visited.get_by_role("heading", level=1)).to_contain_text("The fleet is", timeout=LONGEST)
    assert visited.url == f"{base_url}/dashboard?span=day"
