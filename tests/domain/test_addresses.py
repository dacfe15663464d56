"""Which addresses are public, and that no private address can hide in another."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

import pytest
from hypothesis import given, strategies as st

from generation_worker.domain.urls import read_address, why_not_public

NOT_PUBLIC = {
    # IPv4: the first and the last of each network
    "this machine": ["0.0.0.0", "0.255.255.255", "127.0.0.1", "127.255.255.255", "::", "::1"],
    "a private network": [
        *("10.0.0.0", "10.255.255.255", "172.16.0.0", "172.31.255.255", "192.168.0.0", "192.168.255.255"),
        *("fc00::1", "fdff::1", "fd00:ec2::254", "fec0::1", "feff::1"),  # fd00:ec2::254 is Amazon's metadata
    ],
    "a provider's internal network": ["100.64.0.0", "100.127.255.255", "100.100.100.200"],  # the last is Alibaba's
    "a cloud's internal services": ["168.63.129.16"],
    "the link-local network of cloud metadata": ["169.254.0.0", "169.254.169.254", "169.254.255.255"],
    "the link-local network": ["fe80::1", "febf::1", "fe80::5efe:8.8.8.8"],
    "internet protocol assignments": ["192.0.0.0", "192.0.0.192", "192.0.0.255", "2001::1", "2001:2::1", "2001:1ff::1"],
    "the range for documentation": [
        "192.0.2.1",
        "198.51.100.1",
        "203.0.113.1",
        "2001:db8::1",
        "3fff::1",
        "3fff:fff::1",
    ],
    "the transition from IPv4 to IPv6": ["192.88.99.1", "2002:808:808::1"],
    "the range for benchmarks": ["198.18.0.0", "198.19.255.255"],
    "the multicast range": ["224.0.0.1", "239.255.255.255", "ff02::1", "ff0e::1"],
    "a reserved range": [
        *("240.0.0.0", "255.255.255.255", "100::1", "5f00::1", "4000::1", "1fff::1", "e000::1", "f000::1"),
        *("::8.8.8.8", "::ffff:0:8.8.8.8", "64:ff9b:1::808:808"),  # forms that hold an IPv4 address and are deprecated
    ],
}
PUBLIC = [
    *("1.1.1.1", "8.8.8.8", "9.255.255.255", "11.0.0.0", "100.63.255.255", "100.128.0.0", "126.255.255.255"),
    *("128.0.0.0", "168.63.129.15", "168.63.129.17", "169.253.255.255", "169.255.0.0", "172.15.255.255", "172.32.0.0"),
    *("191.255.255.255", "192.0.1.0", "192.167.255.255", "192.169.0.0", "198.17.255.255", "198.20.0.0"),
    *("223.255.255.255", "2000::1", "2001:200::1", "2001:4860:4860::8888", "2003::1", "2606:4700:4700::1111"),
    *("3ffe:ffff::1", "3fff:1000::1", "2a00:1450:4001:82a::200e", "::ffff:8.8.8.8", "64:ff9b::808:808"),
]


@pytest.mark.parametrize(("what", "address"), [(what, one) for what, those in NOT_PUBLIC.items() for one in those])
def test_what_is_not_public_is_told_by_what_it_is(what: str, address: str) -> None:
    assert why_not_public(address) == what


@pytest.mark.parametrize("address", PUBLIC)
def test_what_is_public(address: str) -> None:
    assert why_not_public(address) is None


@pytest.mark.parametrize(
    "text",
    [
        *("", "1.2.3", "1.2.3.4.5", "0177.0.0.1", "0x7f.0.0.1", "2130706433", "1.2.3.256", " 1.2.3.4", "1.2.3.4 "),
        *("１.2.3.4", "fe80::1%eth0", "fe80::1%1", "2606:4700::1%25eth0", "::1::", "[::1]", "localhost"),
    ],
)
def test_what_is_no_address_is_not_judged(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - the library's words
        why_not_public(text)


# An address inside of another

NETWORKS = [
    IPv4Network(network)
    for network in (
        *("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24"),
        *("192.0.2.0/24", "192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4"),
        *("240.0.0.0/4", "168.63.129.16/32"),
    )
]
SITE = int(IPv6Address("2606:4700:1:2::"))


def _v6(prefix: str, number: int, shift: int = 0) -> IPv6Address:
    return IPv6Address(int(IPv6Address(prefix)) | number << shift)


STANDS_FOR: dict[str, Callable[[int], IPv6Address]] = {
    "mapped": lambda v4: _v6("::ffff:0:0", v4),
    "nat64": lambda v4: _v6("64:ff9b::", v4),
    "isatap": lambda v4: IPv6Address(SITE | 0x00005EFE << 32 | v4),
    "isatap, universal": lambda v4: IPv6Address(SITE | 0x02005EFE << 32 | v4),
}
"""Judged by the address inside."""
DEPRECATED: dict[str, Callable[[int], IPv6Address]] = {
    "compatible": lambda v4: _v6("::", v4),
    "translated": lambda v4: _v6("::ffff:0:0:0", v4),
    "nat64, local": lambda v4: _v6("64:ff9b:1::", v4),
    "nat64, local, in the middle": lambda v4: _v6("64:ff9b:1::", (v4 >> 16) << 24 | v4 & 0xFFFF, 40),
    "6to4": lambda v4: _v6("2002::1", v4, 80),
    "teredo, server": lambda v4: _v6("2001::", v4, 64),
    "teredo, client": lambda v4: _v6("2001:0:808:808::", v4 ^ 0xFFFF_FFFF),
    "isatap on the link": lambda v4: _v6("fe80::5efe:0:0", v4),
}
"""Refused whatever is inside."""


def addresses_in(network: IPv4Network) -> st.SearchStrategy[int]:
    return st.integers(int(network.network_address), int(network.broadcast_address))


not_public_v4 = st.sampled_from(NETWORKS).flatmap(addresses_in)
any_v4 = st.integers(0, 2**32 - 1)


@given(v4=not_public_v4, form=st.sampled_from(sorted(STANDS_FOR | DEPRECATED)))
def test_no_form_hides_an_address(v4: int, form: str) -> None:
    assert why_not_public(IPv4Address(v4)) is not None
    hidden = (STANDS_FOR | DEPRECATED)[form](v4)
    assert why_not_public(hidden) is not None
    assert why_not_public(str(hidden)) is not None
    assert why_not_public(hidden.exploded) is not None


@given(v4=any_v4, form=st.sampled_from(sorted(STANDS_FOR)))
def test_what_stands_for_an_address_is_judged_as_it(v4: int, form: str) -> None:
    assert why_not_public(STANDS_FOR[form](v4)) == why_not_public(IPv4Address(v4))


@given(v4=any_v4, form=st.sampled_from(sorted(DEPRECATED)))
def test_a_form_that_nobody_uses_any_more_is_refused(v4: int, form: str) -> None:
    assert why_not_public(DEPRECATED[form](v4)) is not None


@given(v4=any_v4)
def test_what_python_does_not_call_global_is_not_public(v4: int) -> None:
    """Its table is no policy, but a second opinion: ours is never the more generous."""
    address = IPv4Address(v4)
    if not address.is_global or address.is_multicast or address.is_reserved:
        assert why_not_public(address) is not None


@given(number=st.integers(0, 2**128 - 1))
def test_outside_of_what_was_given_out_there_is_nothing_public_but_what_stands_for_ipv4(number: int) -> None:
    address = IPv6Address(number)
    if why_not_public(address) is None and address not in IPv6Network("2000::/3"):
        assert any(address in IPv6Network(network) for network in ("::ffff:0:0/96", "64:ff9b::/96"))


@given(number=st.integers(2**125, 2**126 - 1))
def test_what_python_does_not_call_global_is_not_public_in_ipv6_either(number: int) -> None:
    address = IPv6Address(number)
    if not address.is_global:
        assert why_not_public(address) is not None


@given(v4=any_v4)
def test_an_address_is_read_as_it_is_written(v4: int) -> None:
    assert int(read_address(str(IPv4Address(v4)))) == v4
