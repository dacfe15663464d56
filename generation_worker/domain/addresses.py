"""Which addresses are on the public internet: the only ones that a user's URL may lead to.

A table of our own. What Python's ``ipaddress`` calls global or private differs from release to release, and it calls
global what another address hides in: ``64:ff9b::a9fe:a9fe`` is 169.254.169.254, where clouds hand out their keys. It
is used here to read addresses, never to judge them.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

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
