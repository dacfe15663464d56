"""A connection is made only to an address that was checked, and carries exactly the given request."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime, timedelta
from urllib.parse import urlsplit

import pytest
import trustme

from generation_worker.domain.urls import Url, parse_url
from generation_worker.fetch.connector import (
    AddressRefused,
    CertificateRefused,
    ConnectFailed,
    ConnectionBroken,
    Connector,
    RequestFailed,
)
from tests.fetch.name_server import NameServer
from tests.fetch.pages import CAT, redirect
from tests.fetch.world import ALSO_PUBLIC, HOST, PUBLIC, PUBLIC_V6, URL, Attempt, Site, World, server_with
from tests.simulators.replies import garbage, hang_up, raw_reply, reset
from tests.simulators.server import SimulatorServer

CAT_URL = parse_url(URL)


def get(connector: Connector, url: Url = CAT_URL) -> bytes:
    with connector.request("GET", url, {}, Attempt()) as response:
        assert response.status == 200
        return b"".join(response.chunks)


def failure(connector: Connector, url: Url = CAT_URL) -> RequestFailed:
    with pytest.raises(RequestFailed) as failed:
        get(connector, url)
    return failed.value


# where to


def test_a_name_is_looked_up_once_and_its_address_is_dialled_as_a_number(world: World) -> None:
    assert get(world.connector()) == CAT
    assert world.looked_up == [HOST]
    assert world.dialled == [(PUBLIC, 443)]


def test_a_name_server_that_changes_its_mind_is_not_asked_again(world: World) -> None:
    with NameServer(PUBLIC, "127.0.0.1", "127.0.0.1") as names:
        connector = world.connector(resolve=names.ask)
        assert get(connector) == CAT
        assert names.asked == 1
        assert world.dialled == [(PUBLIC, 443)]
        assert type(failure(connector)) is AddressRefused
        assert world.dialled == [(PUBLIC, 443)]


NOT_FOR_USERS = [
    *("127.0.0.1", "10.1.2.3", "169.254.169.254", "0.0.0.0", "100.100.100.200", "168.63.129.16"),
    *(
        "::1",
        "::",
        "fe80::1",
        "fd00:ec2::254",
        "::ffff:127.0.0.1",
        "64:ff9b::a9fe:a9fe",
        "2002:a9fe:a9fe::",
        "::7f00:1",
    ),
    *("fe80::1%eth0", "fe80::1%2", f"{PUBLIC_V6}%eth0", "something else", ""),
]


@pytest.mark.parametrize("address", NOT_FOR_USERS)
def test_a_name_that_leads_inside_is_refused_and_nothing_dialled(world: World, address: str) -> None:
    world.names[HOST] = [[address]]
    error = failure(world.connector())
    assert type(error) is AddressRefused
    assert address not in error.reason or not address
    assert world.dialled == []


@pytest.mark.parametrize("address", NOT_FOR_USERS)
def test_one_address_inside_spoils_all(world: World, address: str) -> None:
    world.names[HOST] = [[PUBLIC, ALSO_PUBLIC, address]]
    assert type(failure(world.connector())) is AddressRefused
    assert world.dialled == []


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "169.254.169.254", "::ffff:10.0.0.1"])
def test_an_address_is_judged_as_a_name_is(world: World, host: str) -> None:
    """Whoever made the URL should have; this one has the last word."""
    assert type(failure(world.connector(), Url("https", host, 443, "/"))) is AddressRefused
    assert world.dialled == []


def test_an_address_that_takes_no_connection_is_followed_by_the_next_one(world: World) -> None:
    world.names[HOST] = [[PUBLIC_V6, PUBLIC]]
    world.refusing = {PUBLIC_V6}
    assert get(world.connector()) == CAT
    assert world.dialled == [(PUBLIC_V6, 443), (PUBLIC, 443)]


def test_a_host_with_many_addresses_does_not_have_them_all_tried(world: World) -> None:
    world.names[HOST] = [[f"93.184.215.{n}" for n in range(100)]]
    world.refusing = {f"93.184.215.{n}" for n in range(100)}
    error = failure(world.connector())
    assert (type(error), error.reason) == (ConnectFailed, "did not accept a connection")
    assert len(world.dialled) == 4


@pytest.mark.parametrize("names", [[], [[]]], ids=["unknown", "without an address"])
def test_a_host_without_an_address_is_not_reached(world: World, names: list[list[str]]) -> None:
    world.names[HOST] = [*names]
    assert type(failure(world.connector())) is ConnectFailed


@pytest.mark.parametrize("address", [PUBLIC, PUBLIC_V6])
def test_an_address_in_the_url_is_dialled_and_its_certificate_checked(world: World, address: str) -> None:
    url = parse_url(f"https://[{address}]/cat.png" if ":" in address else f"https://{address}/cat.png")
    assert get(world.connector(), url) == CAT
    assert (world.looked_up, world.dialled) == ([], [(address, 443)])
    assert world.site.greeted_as == [None]


def test_proxies_of_the_environment_are_not_followed(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    assert get(world.connector()) == CAT


# who is there


def test_the_name_stays_for_sni_the_certificate_and_the_host_header(world: World, site: Site) -> None:
    get(world.connector())
    assert (site.greeted_as, site.hosts) == ([HOST], [HOST])


def test_a_certificate_for_another_name_is_refused(world: World, site: Site) -> None:
    error = failure(world.connector(), parse_url("https://wrong.example.org/cat.png"))
    assert type(error) is CertificateRefused
    assert "not valid for 'wrong.example.org'" in error.reason
    assert site.asked == []


def test_a_certificate_of_nobody_that_the_machine_trusts_is_refused(world: World, site: Site) -> None:
    assert type(failure(world.connector(trust=None))) is CertificateRefused
    assert site.asked == []


def test_a_certificate_that_has_expired_is_refused(trust: ssl.SSLContext, ca: trustme.CA, site: Site) -> None:
    past = datetime.now(UTC) - timedelta(days=1)
    with server_with(site, ca, not_before=past - timedelta(days=1), not_after=past) as server:
        world = World(site, urlsplit(server.url).port or 0, trust)
        error = failure(world.connector())
    assert type(error) is CertificateRefused
    assert "expired" in error.reason


def test_a_server_without_tls_is_not_spoken_to(world: World, site: Site) -> None:
    with SimulatorServer([site]) as plain:
        world.port = urlsplit(plain.url).port or 0
        error = failure(world.connector())
    assert (type(error), error.reason) == (ConnectionBroken, "did not complete the TLS handshake")
    assert site.asked == []


# what is said


def test_a_get_carries_what_was_asked_and_nothing_else(world: World, site: Site) -> None:
    with world.connector().request("GET", parse_url(f"{URL}?a=1&b=%20#c"), {"Accept": "image/png"}, Attempt()):
        pass
    (asked,) = site.asked
    assert (asked.method, asked.path, asked.body) == ("GET", "/cat.png?a=1&b=%20", b"")
    assert asked.headers == {"host": HOST, "accept": "image/png", "connection": "close"}


@pytest.mark.parametrize("body", [b'{"id": "1"}', b"", bytes(300_000)], ids=["some", "none", "much"])
def test_a_post_carries_its_body(world: World, site: Site, body: bytes) -> None:
    site.pages["/hook"] = raw_reply(b"thanks", 202, {"X-Two": "a"})
    url = parse_url(f"https://{HOST}/hook")
    with world.connector().request("POST", url, {"Content-Type": "application/json"}, Attempt(), body) as response:
        assert (response.status, response.header("x-two"), response.header("x-three")) == (202, "a", None)
        assert b"".join(response.chunks) == b"thanks"
    (asked,) = site.asked
    assert (asked.method, asked.path, asked.body) == ("POST", "/hook", body)
    assert asked.headers["content-type"] == "application/json"


def test_a_redirect_is_an_answer_like_any_other(world: World, site: Site) -> None:
    site.pages["/hook"] = redirect("https://127.0.0.1/")
    with world.connector().request("POST", parse_url(f"https://{HOST}/hook"), {}, Attempt(), b"{}") as response:
        assert (response.status, response.header("location")) == (302, "https://127.0.0.1/")
    assert len(site.asked) == 1


@pytest.mark.parametrize("page", [garbage, hang_up, reset], ids=["garbage", "hangs up", "resets"])
def test_a_host_that_does_not_speak_http_breaks_off(world: World, site: Site, page: object) -> None:
    site.pages["/cat.png"] = page  # pyright: ignore[reportArgumentType]
    assert type(failure(world.connector())) is ConnectionBroken


# in development


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_private_hosts_are_asked_where_that_is_allowed(world: World, trust: ssl.SSLContext, host: str) -> None:
    """The system's own resolver and a real connection to loopback."""
    url = parse_url(f"https://{host}:{world.port}/cat.png", private=True)
    assert get(Connector(allow_private=True, trust=trust), url) == CAT
    assert type(failure(Connector(trust=trust), url)) is AddressRefused


def test_a_port_where_nobody_listens_is_not_reached() -> None:
    error = failure(Connector(allow_private=True), Url("http", "127.0.0.1", 1, "/"))
    assert type(error) is ConnectFailed


def test_a_name_that_does_not_exist_is_not_found_by_the_system() -> None:
    error = failure(Connector(allow_private=True), Url("https", "nowhere.invalid", 443, "/"))
    assert (type(error), error.reason) == (ConnectFailed, "could not be found by its name")
