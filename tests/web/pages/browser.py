"""A browser without scripts: opens pages, keeps cookies, sends forms with what they hold and what somebody enters.

It says of each request where it comes from, as browsers do.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any
from urllib.parse import urlencode, urljoin, urlsplit

import httpx

from tests.web.pages.html import Element, read

NAVIGATION = {"Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document", "Accept": "text/html"}
FORM = "application/x-www-form-urlencoded"
Fields = dict[str, str]


@dataclass(frozen=True)
class Form:
    element: Element
    page: Page

    @property
    def method(self) -> str:
        return self.element.attributes.get("method", "get").upper()

    @property
    def action(self) -> str:
        return urljoin(self.page.path, self.element.attributes.get("action", self.page.path))

    @property
    def buttons(self) -> list[Element]:
        return [button for button in self.element.all("button") if button.attributes.get("type") != "button"]

    @property
    def title(self) -> str:
        """What one opens to find it, if it is behind a summary."""
        behind = self.element.around("details")
        return "" if behind is None else behind.one("summary").text

    @property
    def names(self) -> list[str]:
        """Whatever can be entered, and what is hidden."""
        return [each.attributes["name"] for each in self.element.all("input", "select", "textarea")]

    @property
    def fields(self) -> Fields:
        """What is sent if nobody enters anything."""
        found: Fields = {}
        for each in self.element.all("input", "select", "textarea"):
            value = _value(each)
            if value is not None and "disabled" not in each.attributes:
                found[each.attributes["name"]] = value
        return found


@dataclass(frozen=True)
class Page:
    answer: httpx.Response

    @property
    def path(self) -> str:
        return self.answer.request.url.raw_path.decode()

    @property
    def status(self) -> int:
        return self.answer.status_code

    @cached_property
    def tree(self) -> Element:
        assert self.answer.headers["content-type"].startswith("text/html"), self.answer.headers
        return read(self.answer.text)

    @property
    def text(self) -> str:
        """All of it that a person reads, without what is around every page."""
        return self.tree.one("main").text

    @property
    def heading(self) -> str:
        return self.tree.one("h1").text

    @property
    def said(self) -> str | None:
        """What was done by the form before."""
        return next((each.text for each in self.tree.all("p", class_="flash")), None)

    @property
    def problem(self) -> str | None:
        """The code of what went wrong."""
        box = next(iter(self.tree.all("div", class_="problem")), None)
        return None if box is None else box.all("p")[-1].text.partition(" · ")[0]

    @property
    def links(self) -> dict[str, str]:
        """Addresses by their text; of several with the same text the last one."""
        return {link.text: link.attributes["href"] for link in self.tree.all("a")}

    @property
    def forms(self) -> list[Form]:
        return [Form(element, self) for element in self.tree.all("form")]

    def form(self, name: str) -> Form:
        """The only one that is behind a summary of this name, or has such a button, or is for this address."""
        found = [form for form in self.forms if name in (form.title, form.action, *(b.text for b in form.buttons))]
        assert len(found) == 1, (name, [(f.title, f.action, [b.text for b in f.buttons]) for f in self.forms])
        return found[0]

    def has_form(self, name: str) -> bool:
        return any(name in (form.title, form.action, *(b.text for b in form.buttons)) for form in self.forms)

    def rows(self, title: str) -> list[dict[str, str]]:
        """The table in the section of this title: each row's texts by its column's heading."""
        [section] = [each for each in self.tree.all("section") if _titled(each, title)]
        table = section.one("table")
        columns = [each.text for each in table.one("thead").all("th")]
        rows = [row.all("td", "th") for row in table.one("tbody").all("tr")]
        return [dict(zip(columns, (cell.text for cell in row), strict=True)) for row in rows]


class Browser:
    """One person's, with cookies of its own."""

    def __init__(self, base_url: str, **headers: str) -> None:
        self.client = httpx.Client(base_url=base_url, trust_env=False, timeout=60, headers=headers)

    @property
    def origin(self) -> str:
        url = self.client.base_url
        return f"{url.scheme}://{url.netloc.decode()}"

    def open(self, path: str, **headers: str) -> Page:
        """As an address that somebody has entered; leads on where the answer does."""
        sent = {**NAVIGATION, "Sec-Fetch-Site": "none", **{k.replace("_", "-"): v for k, v in headers.items()}}
        return self._follow(self.client.get(path, headers=sent))

    def send(self, form: Form, headers: dict[str, str] | None = None, **entered: str) -> Page:
        """As somebody who enters this and presses its button; leads on where the answer does."""
        unknown = [name for name in entered if name not in form.names]
        assert not unknown, f"{unknown} cannot be entered: there is {form.names}"
        fields = {**form.fields, **entered}
        pressed = form.buttons[0].attributes if form.buttons else {}
        if "name" in pressed and pressed["name"] not in fields:
            fields[pressed["name"]] = pressed.get("value", "")
        if form.method == "GET":
            return self._follow(
                self.client.get(f"{urlsplit(form.action).path}?{urlencode(fields)}", headers=NAVIGATION)
            )
        return self._follow(self.post(form.action, fields, **(headers or {})))

    def post(self, path: str, fields: dict[str, Any], **headers: str) -> httpx.Response:
        """As a page of this server would have it sent; the answer is not followed."""
        sent = {**NAVIGATION, "Sec-Fetch-Site": "same-origin", "Origin": self.origin, **headers}
        return self.client.post(path, data=fields, headers=sent)

    def sign_in(self, key: str, back: str | None = None) -> Page:
        """With the form that is there for it."""
        page = self.open("/dashboard/sign-in" if back is None else back)
        return self.send(page.form("Sign in"), key=key)

    def close(self) -> None:
        self.client.close()

    def _follow(self, answer: httpx.Response) -> Page:
        for _ in range(5):
            if answer.next_request is None:
                return Page(answer)
            answer = self.client.get(answer.next_request.url, headers={**NAVIGATION, "Sec-Fetch-Site": "same-origin"})
        raise AssertionError(f"It leads on and on: {answer.url}")


def _value(element: Element) -> str | None:
    if element.tag == "textarea":
        return element.text
    if element.tag == "select":
        options = element.all("option")
        chosen = [option for option in options if "selected" in option.attributes] or options[:1]
        return chosen[0].attributes.get("value", chosen[0].text) if chosen else None
    if element.attributes.get("type") in ("checkbox", "radio") and "checked" not in element.attributes:
        return None
    return element.attributes.get("value", "")


def _titled(section: Element, title: str) -> bool:
    return any(heading.text.startswith(title) for heading in section.all("h1", "h2", "h3"))
