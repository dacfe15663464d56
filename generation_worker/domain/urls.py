"""URLs that come from users: read strictly, and refused for all that can be seen without asking a name server.

What a host's name leads to is judged by whoever connects, each time anew.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal
from urllib.parse import quote

from generation_worker.domain.addresses import read_address, why_not_public

DEFAULT_PORTS = {"https": 443, "http": 80}
LONGEST_HOST = 253
"""Characters of a host's name."""

# Not urlsplit, which forgives: it drops line breaks and lets anything be a host.
_URL = re.compile(r"(?P<scheme>[A-Za-z]+)://(?P<authority>[^/?#]*)(?P<path>[^?#]*)(?P<query>\?[^#]*)?(?:#.*)?")
_AUTHORITY = re.compile(r"(?:\[(?P<v6>[^\[\]]*)\]|(?P<name>[^\[\]:]*))(?::(?P<port>[0-9]{1,5}))?")
_LABEL = re.compile(r"[a-z0-9_-]{1,63}")
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")
_PLAIN = "!#$%&'()*+,/:;=?@[]~"
"""Stays as it is in a path or a query; what else is no letter or digit is percent-encoded."""
_AT_HOME = ("localhost", "local", "internal", "lan", "home.arpa")
"""Names that mean something in one network only."""


@dataclass(frozen=True, slots=True)
class Url:
    """Where a user's URL leads. Its text is not kept: a query may hold a signature, which no message should repeat."""

    scheme: Literal["https", "http"]
    host: str
    """A name in lower case, or an address; IPv6 without its brackets."""
    port: int
    target: str
    """Path and query in ASCII, as they are sent; never a fragment."""

    @property
    def authority(self) -> str:
        """What the Host header says."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == DEFAULT_PORTS[self.scheme] else f"{host}:{self.port}"

    @property
    def text(self) -> str:
        """One text for each place: an ``https://`` URL without fragment, default port or capital letters in its host.

        It may hold a secret.
        """
        return f"{self.scheme}://{self.authority}{self.target}"

    def __repr__(self) -> str:
        return f"Url({self.scheme}://{self.authority}/…)"


def parse_url(text: str, *, private: bool = False) -> Url:
    """The URL in ``text``: https on port 443 of a public host, without user name or password.

    With ``private`` also http, other ports, and hosts of a private network. Raises ValueError, whose message follows
    the field's name and shows no more of the URL than its host.
    """
    if not text.isprintable():
        raise ValueError("must not hold line breaks or control characters")
    found = _URL.fullmatch(text)
    scheme = found["scheme"].lower() if found else ""
    if found is None or not (scheme == "https" or (private and scheme == "http")):
        raise ValueError("must begin with https://")
    if "@" in found["authority"]:
        raise ValueError("must not hold a user name or a password")
    place = _AUTHORITY.fullmatch(found["authority"])
    if place is None:
        raise ValueError("must name a host, and nothing else, between https:// and the path")
    host = _read_v6(place["v6"]) if place["v6"] is not None else _read_name(place["name"])
    port = int(place["port"]) if place["port"] else DEFAULT_PORTS[scheme]
    if not private:
        _check_public(host, port)
    if not 0 < port < 65_536:
        raise ValueError("must have a port between 1 and 65535, or none")
    target = quote((found["path"] or "/") + (found["query"] or ""), safe=_PLAIN)
    return Url("http" if scheme == "http" else "https", host, port, target)


def _read_v6(text: str) -> str:
    if ":" in text:
        try:
            return str(read_address(text))
        except ValueError:
            pass
    raise ValueError("must have an IPv6 address, without a zone, between the brackets")


def _read_name(text: str) -> str:
    name = text.lower().removesuffix(".")
    if not name.isascii():
        raise ValueError("must name its host in ASCII: write xn--… for other letters")
    labels = name.split(".")
    if len(name) > LONGEST_HOST or not all(map(_LABEL.fullmatch, labels)):
        raise ValueError("must name a host such as images.example.com")
    if not _NUMBER.fullmatch(labels[-1]):
        return name
    try:
        return str(read_address(name))
    except ValueError:
        # 2130706433, 0x7f.1 and 0177.0.0.1 are 127.0.0.1 to some and nothing to others.
        raise ValueError("must write an address as four decimal numbers, such as 192.0.2.1") from None


def _check_public(host: str, port: int) -> None:
    if port != DEFAULT_PORTS["https"]:
        raise ValueError(f"must use port 443, not {port}")
    try:
        belongs_to = why_not_public(host)
    except ValueError:  # it is a name
        if "." not in host or any(f".{host}".endswith(f".{suffix}") for suffix in _AT_HOME):
            raise ValueError(f"must name a public host, which {host} is not") from None
        return
    if belongs_to is not None:
        raise ValueError(f"must name a public host: {host} belongs to {belongs_to}")
