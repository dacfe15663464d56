"""Responses of a web host, valid and invalid."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from tests.simulators import replies
from tests.simulators.pictures import picture
from tests.simulators.replies import Reply, raw_reply
from tests.simulators.server import Exchange

CAT = picture("a cat")
PNG = {"Content-Type": "image/png"}


def image(data: bytes = CAT, status: int = 200, headers: Mapping[str, str] | None = None) -> Reply:
    return raw_reply(data, status, {**PNG, **(headers or {})})


def redirect(to: str, status: int = 302) -> Reply:
    return raw_reply(b"<h1>Moved</h1>", status, {"Content-Type": "text/html", "Location": to})


def in_turn(*pages: Reply) -> Reply:
    """A page for each request, and the last one for all that come after."""
    left = list(pages)

    def answer(exchange: Exchange) -> None:
        page = left.pop(0) if len(left) > 1 else left[0]
        page(exchange)

    return answer


def begun(rest: Callable[[Exchange], None], **headers: str) -> Reply:
    """The headers of a picture, and then ``rest``."""

    def answer(exchange: Exchange) -> None:
        exchange.start(200, {**PNG, **{name.replace("_", "-"): value for name, value in headers.items()}})
        rest(exchange)

    return answer


def until_the_end(data: bytes = CAT, *, goodbye: bool) -> Reply:
    """A picture without a length, which ends when the connection does; with ``goodbye`` as TLS wants it."""

    def rest(exchange: Exchange) -> None:
        exchange.write(data)
        if goodbye:
            exchange.say_goodbye()
        else:
            exchange.hang_up()

    return begun(rest, Connection="close")


def dripping(data: bytes, every: float = 0.05) -> Callable[[Exchange], None]:
    def drip(exchange: Exchange) -> None:
        for byte in data:
            exchange.write(bytes([byte]))
            if exchange.closing.wait(every):
                break

    return drip


def endless(exchange: Exchange) -> None:
    while not exchange.closing.is_set():
        exchange.write(bytes(100_000))


def half(exchange: Exchange) -> None:
    exchange.write(CAT[: len(CAT) // 2])
    exchange.hang_up()


def half_a_chunk(exchange: Exchange) -> None:
    exchange.write(b"%x\r\n%s" % (len(CAT), CAT[: len(CAT) // 2]))
    exchange.hang_up()


SILENT: dict[str, Reply] = {
    "never a byte": replies.hang,
    "never a body": begun(replies.hang, Content_Length="1000"),
    "drips its body": begun(dripping(bytes(10_000)), Content_Length="10000"),
    "drips its headers": replies.drip_headers(0.05),
    "drips the length of a chunk": begun(dripping(b"0" * 10_000), Transfer_Encoding="chunked"),
    "goes on answering that it goes on": dripping(b"HTTP/1.1 100 Continue\r\n\r\n" * 1000),
}
"""Hosts that nobody waits for to the end."""
