"""Webhooks are signed as the receiver's library expects, and sent only to checked addresses."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from generation_worker.fetch.poster import WebPoster, headers_of
from generation_worker.ports import Delivery
from tests.fetch.world import HOST, World
from tests.simulators.replies import Reply, drip_headers, endless, hang, hang_up, raw_reply

SECRET, OLD = "whsec_QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVphYmNkZWY=", "whsec_b2xkb2xkb2xkb2xkb2xkb2xkb2xk"
BODY = '{"type": "job.completed", "data": {"name": "Zoë"}}'
URL = f"https://{HOST}/hook?from=us"


def a_delivery(**changes: Any) -> Delivery:
    known: dict[str, Any] = {
        "id": "0192f0c1-0000-7000-8000-000000000001", "endpoint": "e", "event": "job.completed", "url": URL,
        "secrets": [SECRET], "failing": False, "body": BODY, "attempts": 1, "token": "t",
    }  # fmt: skip
    return Delivery(**(known | changes))


def poster(world: World, *, timeout: float = 20.0, **changes: Any) -> WebPoster:
    return WebPoster(world.connector(**changes), timeout=timeout)


def answer(world: World, reply: Reply) -> None:
    world.site.pages["/hook"] = reply


def test_the_other_side_can_verify_who_sends(world: World) -> None:
    answer(world, raw_reply(b"", 204))
    reply = poster(world).post(a_delivery())
    assert (reply.status, reply.problem) == (204, None)
    [asked] = world.site.asked
    assert (asked.method, asked.path, asked.headers["host"]) == ("POST", "/hook?from=us", HOST)
    assert asked.headers["content-type"] == "application/json"
    assert asked.headers["webhook-id"] == a_delivery().id
    assert asked.body == BODY.encode()
    assert Webhook(SECRET).verify(asked.body, dict(asked.headers))["data"] == {"name": "Zoë"}
    for change in ({"webhook-id": "another"}, {"webhook-timestamp": "1"}):
        with pytest.raises(WebhookVerificationError):
            Webhook(SECRET).verify(asked.body, dict(asked.headers) | change)
    with pytest.raises(WebhookVerificationError):
        Webhook(SECRET).verify(asked.body + b" ", dict(asked.headers))


def test_while_a_secret_is_exchanged_either_verifies(world: World) -> None:
    answer(world, raw_reply(b""))
    poster(world).post(a_delivery(secrets=[SECRET, OLD]))
    [asked] = world.site.asked
    for secret in (SECRET, OLD):
        assert Webhook(secret).verify(asked.body, dict(asked.headers))
    with pytest.raises(WebhookVerificationError):
        Webhook("whsec_c29tZWJvZHkgZWxzZQ==").verify(asked.body, dict(asked.headers))


def test_a_later_try_has_the_same_id_and_body_and_a_time_of_its_own() -> None:
    now = datetime.now(UTC)
    first, later = headers_of(a_delivery(), now), headers_of(a_delivery(attempts=2), now + timedelta(hours=3))
    assert first["webhook-id"] == later["webhook-id"]
    assert int(later["webhook-timestamp"]) - int(first["webhook-timestamp"]) == 3 * 3600
    assert first["webhook-signature"] != later["webhook-signature"]


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirects_are_not_followed(world: World, status: int) -> None:
    answer(world, raw_reply(b"", status, {"Location": f"https://{HOST}/elsewhere"}))
    assert poster(world).post(a_delivery()).status == status
    assert [asked.path for asked in world.site.asked] == ["/hook?from=us"]


@pytest.mark.parametrize("addresses", [["10.0.0.1"], ["127.0.0.1"], ["169.254.169.254"], ["93.184.215.14", "10.0.0.1"]])
def test_a_name_that_leads_inside_is_not_asked(world: World, addresses: list[str]) -> None:
    world.names[HOST] = [addresses]
    reply = poster(world).post(a_delivery())
    assert reply.status is None
    assert reply.problem is not None
    assert reply.problem.startswith("its host has an address that is not public")
    assert world.dialled == []


def test_a_name_that_leads_inside_the_second_time_is_not_asked_then(world: World) -> None:
    """DNS rebinding: the address is judged, and dialled, anew at each try."""
    answer(world, raw_reply(b""))
    world.names[HOST] = [["93.184.215.14"], ["127.0.0.1"]]
    one = poster(world)
    assert [one.post(a_delivery()).status for _ in range(3)] == [200, None, None]
    assert len(world.dialled) == len(world.site.asked) == 1


@pytest.mark.parametrize("url", ["http://app.example.com/", "https://app.example.com:8443/", "https://127.0.0.1/", "x"])
def test_an_address_that_the_rules_forbid_now_is_not_asked(world: World, url: str) -> None:
    """It was added when they were others."""
    reply = poster(world).post(a_delivery(url=url))
    assert reply.status is None
    assert reply.problem is not None
    assert reply.problem.startswith("its url must ")
    assert (world.looked_up, world.dialled) == ([], [])


def test_private_endpoints_are_asked_where_they_are_allowed(world: World) -> None:
    answer(world, raw_reply(b""))
    world.names["app.internal"] = [["10.0.0.1"]]
    reply = poster(world, allow_private=True).post(a_delivery(url="https://localhost/hook"))
    assert reply.status is None  # there is no such name here
    world.names["localhost"] = [["10.0.0.1"]]
    assert poster(world, allow_private=True).post(a_delivery(url="https://localhost/hook")).status == 200


def test_somebody_without_the_right_certificate_is_told_nothing(world: World) -> None:
    reply = poster(world).post(a_delivery(url="https://wrong.example.org/hook"))
    assert reply.status is None
    assert reply.problem is not None
    assert "certificate" in reply.problem
    assert world.site.asked == []


@pytest.mark.parametrize("silence", [hang, drip_headers(0.05)], ids=["hang", "drip"])
def test_silence_ends_the_try(world: World, silence: Reply) -> None:
    answer(world, silence)
    begun = time.monotonic()
    reply = poster(world, timeout=1.0).post(a_delivery())
    assert reply.status is None
    assert reply.problem == "its host did not send a complete response within 1 s"
    assert time.monotonic() - begun < 15


def test_an_endless_answer_is_not_read(world: World) -> None:
    answer(world, endless)
    assert poster(world, timeout=15.0).post(a_delivery()).status == 200


def test_a_broken_answer_is_a_failure(world: World) -> None:
    answer(world, hang_up)
    reply = poster(world).post(a_delivery())
    assert reply.status is None
    assert reply.problem is not None
    assert "before its response was complete" in reply.problem


@pytest.mark.parametrize(("header", "seconds"), [("120", 120), ("soon", None), ("", None)])
def test_retry_after_is_read_as_seconds(world: World, header: str, seconds: int | None) -> None:
    answer(world, raw_reply(b"", 503, {"Retry-After": header} if header else {}))
    assert poster(world).post(a_delivery()).retry_after == seconds


def test_retry_after_is_read_as_a_date(world: World) -> None:
    in_an_hour = format_datetime(datetime.now(UTC) + timedelta(hours=1), usegmt=True)
    answer(world, raw_reply(b"", 503, {"Retry-After": in_an_hour}))
    reply = poster(world).post(a_delivery())
    assert reply.retry_after is not None
    assert 3000 <= reply.retry_after <= 3601


def test_neither_url_nor_secret_is_shown() -> None:
    shown = repr(a_delivery())
    assert "hook" not in shown
    assert "whsec" not in shown
