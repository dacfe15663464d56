"""Parses URLs from users strictly, and decides which addresses are on the public internet.

Parsing rejects everything that can be seen without a name server. The addresses of a name are checked on every
connection, by the code that connects.

The table of networks is our own. What Python's ``ipaddress`` calls global or private differs between releases, and it
calls some addresses global that contain another one: ``64:ff9b::a9fe:a9fe`` is 169.254.169.254, the metadata service
that gives out a cloud's keys. ``ipaddress`` only parses addresses here.
"""

import re
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Literal
from urllib.parse import quote

Address = IPv4Address | IPv6Address

DEFAULT_PORTS = {"https": 443, "http": 80}
LONGEST_HOST = 253
"""Characters of a host name."""

# Not urlsplit, which is lenient: it drops line breaks and accepts anything as a host.
_URL = re.compile(r"(?P<scheme>[A-Za-z]+)://(?P<authority>[^/?#]*)(?P<path>[^?#]*)(?P<query>\?[^#]*)?(?:#.*)?")
_AUTHORITY = re.compile(r"(?:\[(?P<v6>[^\[\]]*)\]|(?P<name>[^\[\]:]*))(?::(?P<port>[0-9]{1,5}))?")
_LABEL = re.compile(r"[a-z0-9_-]{1,63}")
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")
_SAFE = "!#$%&'()*+,/:;=?@[]~"
"""Characters besides letters and digits that are not percent-encoded in a path or a query."""
_LOCAL_SUFFIXES = ("localhost", "local", "internal", "lan", "home.arpa")
"""Names that are valid in one network only."""


@dataclass(frozen=True, slots=True)
class Url:
    """A parsed URL of a user. Its ``repr`` has no path or query: a query may contain a signature."""

    scheme: Literal["https", "http"]
    host: str
    """A name in lower case, or an address; IPv6 without its brackets."""
    port: int
    target: str
    """Path and query in ASCII, as they are sent; without the fragment."""

    @property
    def authority(self) -> str:
        """The value of the Host header."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == DEFAULT_PORTS[self.scheme] else f"{host}:{self.port}"

    @property
    def text(self) -> str:
        """The normalized URL, without fragment, default port and upper case in its host. It may contain a secret."""
        return f"{self.scheme}://{self.authority}{self.target}"

    def __repr__(self) -> str:
        return f"Url({self.scheme}://{self.authority}/…)"


def parse_url(text: str, *, private: bool = False) -> Url:
    """Parse an https URL on port 443 of a public host, without user name or password.

    ``private`` allows http, other ports and hosts of private networks too. Raises ValueError with a message that
    continues the field's name (“must begin with …”) and contains nothing of the URL but its host.
    """
    if not text.isprintable():
        raise ValueError("must not hold line breaks or control characters")
    found = _URL.fullmatch(text)
    scheme = found["scheme"].lower() if found else ""
    if found is None or not (scheme == "https" or (private and scheme == "http")):
        raise ValueError("must begin with https://")
    if "@" in found["authority"]:
        raise ValueError("must not hold a user name or a password")
    authority = _AUTHORITY.fullmatch(found["authority"])
    if authority is None:
        raise ValueError("must name a host, and nothing else, between https:// and the path")
    host = _read_v6(authority["v6"]) if authority["v6"] is not None else _read_name(authority["name"])
    port = int(authority["port"]) if authority["port"] else DEFAULT_PORTS[scheme]
    if not private:
        _check_public(host, port)
    if not 0 < port < 65_536:
        raise ValueError("must have a port between 1 and 65535, or none")
    target = quote((found["path"] or "/") + (found["query"] or ""), safe=_SAFE)
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
        # Some resolvers read 2130706433, 0x7f.1 and 0177.0.0.1 as 127.0.0.1, others reject them.
        raise ValueError("must write an address as four decimal numbers, such as 192.0.2.1") from None


def _check_public(host: str, port: int) -> None:
    if port != DEFAULT_PORTS["https"]:
        raise ValueError(f"must use port 443, not {port}")
    try:
        belongs_to = why_not_public(host)
    except ValueError:  # the host is a name
        if "." not in host or any(f".{host}".endswith(f".{suffix}") for suffix in _LOCAL_SUFFIXES):
            raise ValueError(f"must name a public host, which {host} is not") from None
        return
    if belongs_to is not None:
        raise ValueError(f"must name a public host: {host} belongs to {belongs_to}")


def why_not_public(address: str | Address) -> str | None:
    """None for a public address; else what the address belongs to, as in “belongs to a private network”.

    Raises ValueError for text that is not an address, or that has a zone (``fe80::1%eth0``).
    """
    found = read_address(address) if isinstance(address, str) else address
    return _in_v4(found) if isinstance(found, IPv4Address) else _in_v6(found)


def read_address(text: str) -> Address:
    """Parse an address; IPv4 only as four decimal numbers without leading zeros.

    Raises ValueError, also for a zone, which is valid on one machine only.
    """
    if ":" not in text:
        return IPv4Address(text)
    if "%" in text:
        raise ValueError("the address has a zone")
    return IPv6Address(text)


def _in_v4(address: IPv4Address) -> str | None:
    return next((what for network, what in _NOT_PUBLIC_V4 if address in network), None)


def _in_v6(address: IPv6Address) -> str | None:
    number = int(address)
    last = IPv4Address(number & 0xFFFF_FFFF)
    if any(address in network for network in _CONTAINS_V4):
        return _in_v4(last)
    if refused := next((what for network, what in _NOT_PUBLIC_V6 if address in network), None):
        return refused
    if address not in _PUBLIC_V6:
        return "a reserved range"
    return _in_v4(last) if (number >> 32) & 0xFFFF_FFFF in _ISATAP else None


# The networks that are not public.

_NOT_PUBLIC_V4 = tuple(
    (IPv4Network(network), what)
    for network, what in (
        ("0.0.0.0/8", "this machine"),
        ("10.0.0.0/8", "a private network"),
        ("100.64.0.0/10", "a provider's internal network"),
        ("127.0.0.0/8", "this machine"),
        ("168.63.129.16/32", "a cloud's internal services"),  # Azure's, though its number is public
        ("169.254.0.0/16", "the link-local network of cloud metadata"),
        ("172.16.0.0/12", "a private network"),
        ("192.0.0.0/24", "internet protocol assignments"),  # 192.0.0.192 is Oracle's metadata
        ("192.0.2.0/24", "the range for documentation"),
        ("192.88.99.0/24", "the transition from IPv4 to IPv6"),
        ("192.168.0.0/16", "a private network"),
        ("198.18.0.0/15", "the range for benchmarks"),
        ("198.51.100.0/24", "the range for documentation"),
        ("203.0.113.0/24", "the range for documentation"),
        ("224.0.0.0/4", "the multicast range"),
        ("240.0.0.0/4", "a reserved range"),
    )
)

_PUBLIC_V6 = IPv6Network("2000::/3")
"""All addresses that are assigned for the internet. Everything else is not public."""
_NOT_PUBLIC_V6 = tuple(
    (IPv6Network(network), what)
    for network, what in (
        ("2001::/23", "internet protocol assignments"),  # Teredo, ORCHID, benchmarks
        ("2001:db8::/32", "the range for documentation"),
        ("2002::/16", "the transition from IPv4 to IPv6"),  # 6to4
        ("3fff::/20", "the range for documentation"),
        ("::/128", "this machine"),
        ("::1/128", "this machine"),
        ("fc00::/7", "a private network"),
        ("fe80::/10", "the link-local network"),
        ("fec0::/10", "a private network"),
        ("ff00::/8", "the multicast range"),
    )
)

_CONTAINS_V4 = (IPv6Network("::ffff:0:0/96"), IPv6Network("64:ff9b::/96"))
"""Addresses that stand for the IPv4 address in their last 32 bits: mapped ones, and NAT64, without which a machine with
IPv6 only reaches no IPv4 host. All other such forms are deprecated, and refused whatever they contain."""
_ISATAP = (0x00005EFE, 0x02005EFE)
"""Bits before the last 32 of an address, if these are the IPv4 address of a tunnel's end (ISATAP)."""
