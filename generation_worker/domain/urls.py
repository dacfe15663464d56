"""URLs that come from users: read strictly, and refused for all that can be seen without asking a name server.

What a host's name leads to is judged by whoever connects, each time anew.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Literal
from urllib.parse import quote

# Which addresses are on the public internet: the only ones that a user's URL may lead to.
#
# A table of our own. What Python's ``ipaddress`` calls global or private differs from release to release, and it calls
# global what another address hides in: ``64:ff9b::a9fe:a9fe`` is 169.254.169.254, where clouds hand out their keys. It
# is used here to read addresses, never to judge them.


Address = IPv4Address | IPv6Address

_NOT_PUBLIC_V4 = tuple(
    (IPv4Network(network), what)
    for network, what in (
        ("0.0.0.0/8", "this machine"),
        ("10.0.0.0/8", "a private network"),
        ("100.64.0.0/10", "a provider's inner network"),
        ("127.0.0.0/8", "this machine"),
        ("168.63.129.16/32", "the inside of a cloud"),  # Azure's, public by its number alone
        ("169.254.0.0/16", "one network link, where clouds keep their metadata"),
        ("172.16.0.0/12", "a private network"),
        ("192.0.0.0/24", "the protocols of the internet"),  # 192.0.0.192 is Oracle's metadata
        ("192.0.2.0/24", "documentation"),
        ("192.88.99.0/24", "a transition from IPv4 to IPv6"),
        ("192.168.0.0/16", "a private network"),
        ("198.18.0.0/15", "benchmarks"),
        ("198.51.100.0/24", "documentation"),
        ("203.0.113.0/24", "documentation"),
        ("224.0.0.0/4", "a group of machines"),
        ("240.0.0.0/4", "nobody"),
    )
)

_PUBLIC_V6 = IPv6Network("2000::/3")
"""All that is given out for the internet. Whatever else there is, or will be, is not public."""
_NOT_PUBLIC_V6 = tuple(
    (IPv6Network(network), what)
    for network, what in (
        ("2001::/23", "the protocols of the internet"),  # Teredo, ORCHID, benchmarks
        ("2001:db8::/32", "documentation"),
        ("2002::/16", "a transition from IPv4 to IPv6"),  # 6to4
        ("3fff::/20", "documentation"),
        ("::/128", "this machine"),
        ("::1/128", "this machine"),
        ("fc00::/7", "a private network"),
        ("fe80::/10", "one network link"),
        ("fec0::/10", "a private network"),
        ("ff00::/8", "a group of machines"),
    )
)

_INSTEAD_OF_V4 = (IPv6Network("::ffff:0:0/96"), IPv6Network("64:ff9b::/96"))
"""An address here stands for the IPv4 address in its last 32 bits: mapped, and NAT64, without which a machine that has
only IPv6 reaches no IPv4 host. Other ways to write one in the other are deprecated, and refused whatever they hold."""
_ISATAP = (0x00005EFE, 0x02005EFE)
"""Before the last 32 bits of an address: these are the IPv4 address at the end of a tunnel."""


def why_not_public(address: str | Address) -> str | None:
    """What ``address`` belongs to, if that is not the public internet; else None.

    Raises ValueError if ``address`` is text that is no address, or that names a zone (``fe80::1%eth0``).
    """
    found = read_address(address) if isinstance(address, str) else address
    return _in_v4(found) if isinstance(found, IPv4Address) else _in_v6(found)


def read_address(text: str) -> Address:
    """The address in ``text``: for IPv4 four decimal numbers without leading zeros, and no other way to write it.

    Raises ValueError, also if a zone is named: it means something to one machine only.
    """
    if ":" not in text:
        return IPv4Address(text)
    if "%" in text:
        raise ValueError("the address names a zone")
    return IPv6Address(text)


def _in_v4(address: IPv4Address) -> str | None:
    return next((what for network, what in _NOT_PUBLIC_V4 if address in network), None)


def _in_v6(address: IPv6Address) -> str | None:
    number = int(address)
    last = IPv4Address(number & 0xFFFF_FFFF)
    if any(address in network for network in _INSTEAD_OF_V4):
        return _in_v4(last)
    if refused := next((what for network, what in _NOT_PUBLIC_V6 if address in network), None):
        return refused
    if address not in _PUBLIC_V6:
        return "nobody"
    return _in_v4(last) if (number >> 32) & 0xFFFF_FFFF in _ISATAP else None


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
