"""Pages fit on a phone, and people who see or hear differently can use them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import Page

from scripts.node_packages import InstallFailed, install
from tests.browsed.conftest import OpenPage, enter
from tests.web.pages.registry import SEEN
from tests.web.registry import World

SignedIn = Callable[..., Page]
PHONE = {"width": 390, "height": 844}
ASK = "async () => (await axe.run()).violations.map((v) => [v.id, v.nodes.map((n) => n.html.slice(0, 200))])"


@pytest.fixture(scope="module")
def axe() -> str:
    try:
        return (install() / "axe-core" / "axe.min.js").read_text()
    except InstallFailed as problem:
        pytest.skip(f"NOT RUN: {problem}")


def addresses(world: World) -> list[str]:
    return [page.address(world) for page in SEEN]


def test_nothing_is_wider_than_a_phone(world: World, signed_in: SignedIn):
    page = signed_in(viewport=PHONE)
    wide: list[Any] = []
    for address in addresses(world):
        page.goto(address)
        width = page.evaluate("document.documentElement.scrollWidth")
        wide += [(address, width)] if width > PHONE["width"] else []
    assert wide == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_everybody_can_use_them(world: World, open_page: OpenPage, secret: Callable[..., str], axe: str, scheme: str):
    """By the rules that axe knows: contrast, names, labels, headings, roles."""
    page, complaints = open_page(color_scheme=scheme)
    enter(page, secret("admin"))
    complaints.expects_errors = True
    found: dict[str, Any] = {}
    for address in [*addresses(world), "/dashboard?span=no", "/dashboard/sign-in"]:
        if address.endswith("sign-in"):
            page.context.clear_cookies()
        page.goto(address)
        page.evaluate(axe)
        if violations := page.evaluate(ASK):
            found[address] = violations
    assert found == {}
