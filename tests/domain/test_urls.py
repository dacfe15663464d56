"""Which URLs of users are refused before anybody is asked, and how the others are read."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given, strategies as st

from generation_worker.domain.errors import InvalidPayload
from generation_worker.domain.payload import parse_payload
from generation_worker.domain.urls import Url, parse_url, why_not_public

REFUSED = {
    "must begin with https://": [
        *("", "image.png", "/image.png", "//example.com/a.png", "http://example.com/a.png", "HTTP://example.com/a.png"),
        *("ftp://example.com/a.png", "file:///etc/passwd", "gopher://example.com:443/_x", "data:image/png;base64,AAAA"),
        *("https:example.com/a.png", "https:/example.com/a.png", " https://example.com/a.png", "javascript://example.com/"),
        *("jar:https://example.com/!/a.png", "https//example.com", "url:https://example.com/a.png"),
    ],
    "must not hold line breaks or control characters": [
        *("https://example.com/a.png\n", "https://exam\tple.com/a.png", "https://example.com/a\r\nHost: x", "\0"),
        *("https://example.com/\u202egnp.a", "https://example.com\u200b/a.png", "https://example.com/\ud800"),
    ],
    "must not hold a user name or a password": [
        *("https://user:secret@example.com/a.png", "https://user@example.com/a.png", "https://@example.com/a.png"),
        *("https://example.com:443@127.0.0.1/a.png", "https://example.com\\@127.0.0.1/a.png", "https://a@b@c.com/"),
    ],
    "must use port 443, not": [
        *("https://example.com:80/a.png", "https://example.com:22/", "https://example.com:8443/", "https://8.8.8.8:53/"),
        *("https://example.com:0/a.png", "https://example.com:99999/a.png", "https://[2606:4700::1111]:6379/"),
    ],
    "must name a public host: 127": ["https://127.0.0.1/a.png", "https://127.1.2.3/a.png", "https://127.0.0.1./a.png"],
    "must name a public host: ": [
        *("https://169.254.169.254/latest/meta-data/", "https://10.0.0.1/a.png", "https://172.16.0.1/a.png"),
        *("https://192.168.1.1/a.png", "https://100.64.0.1/a.png", "https://0.0.0.0/a.png", "https://192.0.0.192/"),
        *("https://198.18.0.1/a.png", "https://224.0.0.1/a.png", "https://255.255.255.255/a.png", "https://240.0.0.1/"),
        *("https://[::1]/a.png", "https://[::]/a.png", "https://[fd00:ec2::254]/a.png", "https://[fe80::1]/a.png"),
        *("https://[::ffff:127.0.0.1]/a.png", "https://[::ffff:7f00:1]/a.png", "https://[::ffff:a9fe:a9fe]/a.png"),
        *("https://[0:0:0:0:0:ffff:169.254.169.254]/", "https://[::127.0.0.1]/a.png", "https://[::a9fe:a9fe]/a.png"),
        *("https://[64:ff9b::a9fe:a9fe]/a.png", "https://[64:ff9b::127.0.0.1]/a.png", "https://[64:ff9b:1::1]/a.png"),
        *("https://[2002:a9fe:a9fe::]/a.png", "https://[2002:7f00:1::1]/a.png", "https://[2001:0:1:2:3:4:5601:5601]/"),
        *("https://[fec0::1]/a.png", "https://[ff02::1]/a.png", "https://[2606:4700::5efe:10.0.0.1]/a.png"),
    ],
    "must name a public host, which": [
        *("https://localhost/a.png", "https://LOCALHOST/a.png", "https://localhost./a.png", "https://a.localhost/a.png"),
        *("https://metadata.google.internal/", "https://printer.local/a.png", "https://nas.home.arpa/", "https://db/"),
    ],
    "must write an address as four decimal numbers": [
        *("https://2130706433/a.png", "https://0x7f000001/a.png", "https://0x7f.1/a.png", "https://0177.0.0.1/a.png"),
        *("https://127.1/a.png", "https://127.0.1/a.png", "https://1.2.3.4.5/a.png", "https://256.0.0.1/a.png"),
        *("https://017700000001/a.png", "https://169.254.43518/a.png", "https://example.123/", "https://example.0x7f/"),
    ],
    "must have an IPv6 address, without a zone": [
        *("https://[fe80::1%25eth0]/a.png", "https://[fe80::1%eth0]/", "https://[::1%251]/", "https://[127.0.0.1]/a.png"),
        *("https://[]/a.png", "https://[example.com]/a.png", "https://[1::2::3]/a.png", "https://[v1.a]/a.png"),
    ],
    "must name its host in ASCII": ["https://１２７.０.０.１/a.png", "https://127。0。0。1/", "https://ⓔxample.com/", "https://bücher.de/"],
    "must name a host such as": [
        *("https:///a.png", "https://?a", "https://#a", "https://.example.com/", "https://a..com/", "https://a b.com/"),
        *("https://example.com../", "https://127.0.0.1%2f/a.png", "https://%31%32%37.0.0.1/", "https://exa$mple.com/"),
        *("https://a.com\\.evil.com/", f"https://{'a' * 64}.com/", f"https://{'a.' * 127}com/", "https://*.a.org/"),
    ],
    "must name a host, and nothing else": [
        *("https://example.com:/a.png", "https://example.com:443:443/", "https://example.com:0x1bb/", "https://a:b/"),
        *("https://::1/a.png", "https://[::1]a/", "https://[::1/a.png", "https://::ffff:127.0.0.1/", "https://a:-1/"),
    ],
}  # fmt: skip

READ = [
    ("https://example.com", Url("https", "example.com", 443, "/")),
    ("HTTPS://Example.COM./A.png", Url("https", "example.com", 443, "/A.png")),
    ("https://example.com:443/a.png#part", Url("https", "example.com", 443, "/a.png")),
    ("https://example.com?size=2", Url("https", "example.com", 443, "/?size=2")),
    ("https://a.com/a b/ü.png?q=ü&r=%C3%BC", Url("https", "a.com", 443, "/a%20b/%C3%BC.png?q=%C3%BC&r=%C3%BC")),
    ("https://example.com/a\\b|c<d>", Url("https", "example.com", 443, "/a%5Cb%7Cc%3Cd%3E")),
    ("https://a.com/../a//b/./c?n=https://[::1]/@", Url("https", "a.com", 443, "/../a//b/./c?n=https://[::1]/@")),
    ("https://b_1.s3.amazonaws.com/k?sig=ab%2Bc", Url("https", "b_1.s3.amazonaws.com", 443, "/k?sig=ab%2Bc")),
    ("https://xn--bcher-kva.de/", Url("https", "xn--bcher-kva.de", 443, "/")),
    ("https://8.8.8.8/a.png", Url("https", "8.8.8.8", 443, "/a.png")),
    ("https://[2606:4700:0:0::1111]/a.png", Url("https", "2606:4700::1111", 443, "/a.png")),
    ("https://localhost.example.com/", Url("https", "localhost.example.com", 443, "/")),
    ("https://123.example.com/", Url("https", "123.example.com", 443, "/")),
]  # fmt: skip

IN_DEVELOPMENT = [
    ("http://localhost:3000/a.png", Url("http", "localhost", 3000, "/a.png")),
    ("http://127.0.0.1/a.png", Url("http", "127.0.0.1", 80, "/a.png")),
    ("http://[::1]:8080", Url("http", "::1", 8080, "/")),
    ("https://minio:9000/a.png", Url("https", "minio", 9000, "/a.png")),
]

CASES = [(problem, url) for problem, urls in REFUSED.items() for url in urls]


@pytest.mark.parametrize(("problem", "url"), CASES)
def test_a_url_is_refused(problem: str, url: str) -> None:
    with pytest.raises(ValueError) as refused:  # noqa: PT011 - the message is compared below
        parse_url(url)
    assert str(refused.value).startswith(problem)


@pytest.mark.parametrize(("url", "read"), READ)
def test_a_url_is_read(url: str, read: Url) -> None:
    assert parse_url(url) == read
    assert parse_url(read.text) == read


@pytest.mark.parametrize(("url", "read"), IN_DEVELOPMENT)
def test_in_development_more_is_let_in(url: str, read: Url) -> None:
    assert parse_url(url, private=True) == read
    with pytest.raises(ValueError, match="must"):
        parse_url(url)


@pytest.mark.parametrize(
    "url", ["ftp://a/", "http://u:p@a/", "http://2130706433/", "http://a:0/", "http://a:65536/", "http://[::1%25lo]/"]
)
def test_what_is_no_url_is_refused_in_development_too(url: str) -> None:
    with pytest.raises(ValueError, match="must"):
        parse_url(url, private=True)


def test_the_host_header_names_the_port_only_if_it_is_unusual() -> None:
    urls = [url for url, _ in IN_DEVELOPMENT]
    assert [parse_url(url, private=True).authority for url in urls] == [
        *("localhost:3000", "127.0.0.1", "[::1]:8080", "minio:9000")
    ]


def test_neither_a_refusal_nor_a_representation_shows_a_secret() -> None:
    for url in (
        "https://u:topsecret@a.com/",
        "https://a.com:8/?sig=topsecret",
        "https://localhost/topsecret#topsecret",
    ):
        with pytest.raises(ValueError) as refused:  # noqa: PT011 - the message is compared below
            parse_url(url)
        assert "topsecret" not in str(refused.value)
    assert repr(parse_url("https://a.com/k?sig=topsecret")) == "Url(https://a.com/…)"


def test_a_payload_is_refused_by_its_field() -> None:
    with pytest.raises(InvalidPayload) as refused:
        parse_payload("text_to_image", {"prompt": "a", "images": [{"url": "http://example.com/a.png?sig=topsecret"}]})
    assert refused.value.message == "images.0.url: must begin with https://"


def test_a_payload_for_development_is_let_in_if_it_is_asked_for() -> None:
    payload = {"prompt": "a", "images": [{"url": "http://localhost:3000/a.png"}]}
    assert parse_payload("text_to_image", payload, private_urls=True)
    with pytest.raises(InvalidPayload):
        parse_payload("text_to_image", payload)


hosts = st.one_of(
    st.text(max_size=40),
    st.from_regex(r"(0x[0-9a-f]{1,8}|[0-9]{1,12})(\.(0x[0-9a-f]{1,4}|[0-9]{1,4})){0,4}\.?", fullmatch=True),
    st.ip_addresses(v=4).map(str),
    st.ip_addresses(v=6).map(lambda address: f"[{address}]"),
)


@given(host=hosts, rest=st.text(max_size=20))
def test_what_is_let_in_names_one_public_place_and_is_sent_in_ascii(host: str, rest: str) -> None:
    with suppress(ValueError):
        url = parse_url(f"https://{host}{rest}")
        assert url.port == 443
        assert (url.host + url.target).isascii()
        assert (url.host + url.target).isprintable()
        assert " " not in url.target
        assert url.target.startswith("/")
        assert parse_url(url.text) == url
        if url.host.rpartition(".")[2].isdecimal() or ":" in url.host:
            assert why_not_public(url.host) is None
