"""A fetch returns an image or an error with its remedy, and never reads more than its limit."""

from __future__ import annotations

import gzip
import tracemalloc
from collections.abc import Generator
from contextlib import contextmanager

import pytest

from generation_worker.domain.errors import InputError, InputNotFound, InputRejected, InputUnavailable
from generation_worker.fetch.fetcher import WebFetcher
from tests.fetch.pages import CAT, begun, endless, half, half_a_chunk, image, in_turn, redirect, until_the_end
from tests.fetch.world import ALSO_PUBLIC, HOST, MIB, OTHER, PUBLIC, URL, Attempt, Site, World
from tests.simulators import replies
from tests.simulators.replies import Reply, raw_reply

SIGNED = f"https://{HOST}/cat.png?X-Amz-Signature=topsecret"


def failure(fetcher: WebFetcher, url: str = URL) -> InputError:
    with pytest.raises(InputError) as failed:
        fetcher.fetch(url, Attempt())
    return failed.value


@contextmanager
def peak_memory(*, below: int) -> Generator[None]:
    """Fail if Python holds more than so many new bytes at any moment."""
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < below
    finally:
        tracemalloc.stop()


def after_a_hint(exchange: replies.Exchange) -> None:
    exchange.write(b"HTTP/1.1 103 Early Hints\r\n\r\n")
    image()(exchange)


# an image


@pytest.mark.parametrize(
    "headers",
    [
        {"Content-Type": "image/png"},
        {"Content-Type": "IMAGE/JPEG; charset=binary"},
        {"Content-Type": "application/octet-stream"},
        {"Content-Type": "binary/octet-stream"},
        {"Content-Type": ""},
        {"Content-Encoding": "identity"},
    ],
)
def test_an_image_is_fetched_whatever_storages_call_it(
    fetcher: WebFetcher, site: Site, headers: dict[str, str]
) -> None:
    site.pages["/cat.png"] = raw_reply(CAT, 200, headers)
    assert fetcher.fetch(URL, Attempt()) == CAT


@pytest.mark.parametrize(
    "page",
    [
        begun(lambda exchange: exchange.write(b"%x\r\n%s\r\n0\r\n\r\n" % (len(CAT), CAT)), Transfer_Encoding="chunked"),
        until_the_end(goodbye=True),
        after_a_hint,
    ],
    ids=["in chunks", "until the connection ends", "after a hint"],
)
def test_an_image_may_come_in_any_form_that_http_has(fetcher: WebFetcher, site: Site, page: Reply) -> None:
    site.pages["/cat.png"] = page
    assert fetcher.fetch(URL, Attempt()) == CAT


def test_a_request_asks_for_what_can_be_used_and_shows_nothing_of_us(fetcher: WebFetcher, site: Site) -> None:
    fetcher.fetch(URL, Attempt())
    (asked,) = site.asked
    assert (asked.method, asked.path, asked.body) == ("GET", "/cat.png", b"")
    assert dict(asked.headers) == {
        "host": HOST,
        "user-agent": "generation-worker",
        "accept": "image/png, image/jpeg, image/webp, */*;q=0.1",
        "accept-encoding": "identity",
        "connection": "close",
    }


# no image


@pytest.mark.parametrize(
    ("page", "expected", "says"),
    [
        (image(status=404), InputNotFound, "has nothing at an input's url (status 404)"),
        (image(status=410), InputNotFound, "status 410"),
        (image(status=401), InputRejected, "must work without a login"),
        (image(status=403), InputRejected, "must not have expired"),
        (image(status=400), InputRejected, "status 400"),
        (image(status=451), InputRejected, "status 451"),
        (image(status=416), InputRejected, "status 416"),
        (raw_reply(b"", 201), InputRejected, "status 201"),
        (replies.raw_reply(b"", 204), InputRejected, "status 204"),
        (image(status=206), InputRejected, "status 206"),
        (image(status=300), InputRejected, "status 300"),
        (raw_reply(b"", 302), InputRejected, "status 302"),
        (raw_reply(b"", 304), InputRejected, "status 304"),
        (image(status=408), InputUnavailable, "status 408"),
        (image(status=425), InputUnavailable, "status 425"),
        (image(status=429), InputUnavailable, "status 429"),
        (image(status=500), InputUnavailable, "status 500"),
        (image(status=503), InputUnavailable, "status 503"),
        (image(status=599), InputUnavailable, "status 599"),
        (raw_reply(b"<html>", 200, {"Content-Type": "text/html; charset=utf-8"}), InputRejected, "'text/html'"),
        (raw_reply(b"{}", 200, {"Content-Type": "application/json"}), InputRejected, "'application/json'"),
        (raw_reply(CAT, 200, {"Content-Type": "x" * 1000}), InputRejected, f"'{'x' * 50}'"),
        (raw_reply(b"", 101, {"Upgrade": "websocket"}), InputUnavailable, "before its response was complete"),
        (begun(half, Content_Length=str(len(CAT))), InputUnavailable, "before its response was complete"),
        (begun(half_a_chunk, Transfer_Encoding="chunked"), InputUnavailable, "before its response was complete"),
        (until_the_end(goodbye=False), InputUnavailable, "before its response was complete"),
        (image(headers={"X-Large": "x" * 200_000}), InputUnavailable, "before its response was complete"),
        (begun(replies.hang_up, **{"Content-Length": "many"}), InputUnavailable, "before its response was complete"),
        (replies.hang_up, InputUnavailable, "before its response was complete"),
        (replies.reset, InputUnavailable, "before its response was complete"),
        (replies.garbage, InputUnavailable, "before its response was complete"),
    ],
)
def test_what_is_no_image_is_an_error_that_says_whether_to_try_again(
    fetcher: WebFetcher, site: Site, page: Reply, expected: type[InputError], says: str
) -> None:
    site.pages["/cat.png"] = page
    error = failure(fetcher)
    assert type(error) is expected
    assert says in error.message
    assert HOST in error.message
    assert len(site.asked) == 1


def test_a_host_without_an_address_may_have_one_later(world: World) -> None:
    world.names[HOST] = []
    assert type(failure(world.fetcher())) is InputUnavailable


def test_a_certificate_that_is_wrong_will_not_be_right_in_a_minute(world: World) -> None:
    error = failure(world.fetcher(), "https://wrong.example.org/cat.png")
    assert type(error) is InputRejected
    assert "certificate" in error.message


def test_no_message_shows_more_of_a_url_than_its_host(world: World, site: Site) -> None:
    for page in (
        image(status=404),
        image(status=500),
        image(status=403),
        replies.hang_up,
        redirect("https://a/topsecret"),
    ):
        site.pages["/cat.png"] = page
        assert "topsecret" not in failure(world.fetcher(), SIGNED).message
    assert "topsecret" not in failure(world.fetcher(), SIGNED.replace("https://", "https://topsecret@")).message


# too much


@pytest.mark.parametrize(
    "page",
    [
        begun(replies.hang, Content_Length=str(MIB + 1)),
        begun(replies.hang, Content_Length="9" * 18),
        begun(endless, Connection="close"),
        begun(endless, Content_Length=str(10**12)),
        image(bytes(MIB + 1)),
    ],
    ids=["announced", "announced as endless", "without a length", "sent all the same", "one byte"],
)
def test_more_than_an_image_is_not_read(world: World, site: Site, page: Reply) -> None:
    site.pages["/cat.png"] = page
    with peak_memory(below=8 * MIB):
        error = failure(world.fetcher(most_bytes=MIB))
    assert type(error) is InputRejected
    assert error.message == f"An input at {HOST} is larger than the 1 MiB of FETCH_MAX_MB."


def test_just_enough_is_read(world: World, site: Site) -> None:
    site.pages["/cat.png"] = image(bytes(MIB))
    assert len(world.fetcher(most_bytes=MIB).fetch(URL, Attempt())) == MIB


@pytest.mark.parametrize("encoding", ["gzip", "GZIP", "br", "identity, gzip", "deflate", "zstd"])
def test_what_is_compressed_is_not_opened(fetcher: WebFetcher, site: Site, encoding: str) -> None:
    bomb = gzip.compress(bytes(100_000_000), 1)
    site.pages["/cat.png"] = image(bomb, headers={"Content-Encoding": encoding})
    with peak_memory(below=8 * MIB):
        error = failure(fetcher)
    assert type(error) is InputRejected
    assert "compressed" in error.message


# somewhere else


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("to", [f"https://{OTHER}/real.png", f"//{OTHER}/real.png", f"https://{OTHER}:443/real.png#x"])
def test_a_redirect_is_followed_to_a_public_host(
    world: World, site: Site, fetcher: WebFetcher, status: int, to: str
) -> None:
    site.pages |= {"/cat.png": redirect(to, status), "/real.png": image()}
    assert fetcher.fetch(URL, Attempt()) == CAT
    assert site.hosts == [HOST, OTHER]
    assert world.dialled == [(PUBLIC, 443), (ALSO_PUBLIC, 443)]


@pytest.mark.parametrize("to", ["real.png", "/real.png", "../real.png", "?real", "/r%C3%A9al.png", "/réal.png"])
def test_a_redirect_may_be_told_in_short(site: Site, fetcher: WebFetcher, to: str) -> None:
    site.pages |= {"/real.png": image(), "/r%C3%A9al.png": image()}
    site.pages["/cat.png"] = in_turn(redirect(to.encode().decode("latin-1")), image())
    assert fetcher.fetch(URL, Attempt()) == CAT
    assert site.hosts == [HOST, HOST]


@pytest.mark.parametrize(
    "to",
    [
        *("http://images.example.com/cat.png", "http://169.254.169.254/latest/meta-data/", "ftp://images.example.com/"),
        *("https://169.254.169.254/latest/meta-data/", "https://127.0.0.1/", "https://[::1]/", "https://10.0.0.1/"),
        *(
            "https://[::ffff:169.254.169.254]/",
            "https://2852039166/",
            "https://localhost/",
            "//127.0.0.1/",
            "file:///x",
        ),
        *("https://inside.example.com/", "https://images.example.com:8443/", "https://user:pw@images.example.com/"),
        *("https://metadata.google.internal/", "https://[fe80::1%25eth0]/", "data:image/png;base64,AAAA", "https://["),
    ],
)
def test_a_redirect_does_not_lead_inside(world: World, site: Site, fetcher: WebFetcher, to: str) -> None:
    world.names["inside.example.com"] = [["10.0.0.1"]]
    site.pages["/cat.png"] = redirect(to)
    error = failure(fetcher)
    assert type(error) is InputRejected
    assert len(site.asked) == 1
    assert world.dialled == [(PUBLIC, 443)]


def test_a_redirect_to_the_same_name_is_looked_up_anew(world: World, site: Site, fetcher: WebFetcher) -> None:
    """A name may lead elsewhere by now, and has to be judged again."""
    world.names[HOST] = [[PUBLIC], ["127.0.0.1"]]
    site.pages |= {"/cat.png": redirect("/real.png"), "/real.png": image()}
    assert type(failure(fetcher)) is InputRejected
    assert world.looked_up == [HOST, HOST]
    assert world.dialled == [(PUBLIC, 443)]


def test_redirects_come_to_an_end(site: Site, fetcher: WebFetcher) -> None:
    for n in range(5):
        site.pages[f"/{n}.png"] = redirect(f"/{n + 1}.png")
    site.pages["/5.png"] = image()
    assert fetcher.fetch(f"https://{HOST}/0.png", Attempt()) == CAT
    site.pages["/5.png"] = redirect("/0.png")
    error = failure(fetcher, f"https://{HOST}/0.png")
    assert type(error) is InputRejected
    assert "more than 5 times" in error.message
    assert len(site.asked) == 6 + 6


def test_a_redirect_takes_no_cookie_along(site: Site, fetcher: WebFetcher) -> None:
    def answer(exchange: replies.Exchange) -> None:
        exchange.send(302, b"", {"Location": "/real.png", "Set-Cookie": "session=1; Path=/"})

    site.pages |= {"/cat.png": answer, "/real.png": image()}
    assert fetcher.fetch(URL, Attempt()) == CAT
    assert all("cookie" not in asked.headers and "referer" not in asked.headers for asked in site.asked)


# what is asked for


@pytest.mark.parametrize(
    "url", ["http://images.example.com/cat.png", "https://10.0.0.1/", "https://[::1]/", "https://a@b.com/", "cat.png"]
)
def test_a_url_that_is_refused_at_enqueue_is_refused_here_too(world: World, fetcher: WebFetcher, url: str) -> None:
    """Rows can be written by anybody who may write to the table."""
    error = failure(fetcher, url)
    assert type(error) is InputRejected
    assert error.message.startswith("An input's url must")
    assert (world.looked_up, world.dialled) == ([], [])
