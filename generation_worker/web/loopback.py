"""Whether a request comes from this machine, and from no web page that somebody on it has opened."""

from __future__ import annotations

from ipaddress import IPv6Address, ip_address
from urllib.parse import urlsplit

from fastapi import Request

FORWARDED = ("forwarded", "x-forwarded-for", "x-forwarded-host", "x-real-ip", "via", "cf-connecting-ip")
"""Signs of a proxy: it sits on this machine perhaps, whoever is behind it does not."""


def is_local(request: Request) -> bool:
    """By the peer address of the connection. Headers can only speak against it.

    A page from elsewhere may make a browser on this machine send requests. It cannot give them our name as Host (with
    its own name bound anew to 127.0.0.1), nor hide where it comes from.
    """
    headers = request.headers
    return (
        request.client is not None
        and _is_loopback(request.client.host)
        and not any(name in headers for name in FORWARDED)
        and _names_loopback(headers.get("host", ""))
        and ("origin" not in headers or headers["origin"].partition("://")[2] == headers.get("host"))
        and (headers.get("sec-fetch-site", "none") in ("none", "same-origin") or _follows_a_link(request))
    )


def _follows_a_link(request: Request) -> bool:
    """The browser shows the answer to its user, and to nobody else: who made the link cannot read it."""
    headers = request.headers
    return (
        request.method == "GET"
        and headers.get("sec-fetch-mode") == "navigate"
        and headers.get("sec-fetch-dest") == "document"
    )


def _names_loopback(host: str) -> bool:
    try:
        name = urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return False
    return name == "localhost" or _is_loopback(name)


def _is_loopback(text: str) -> bool:
    try:
        address = ip_address(text)
    except ValueError:
        return False
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped.is_loopback
    return address.is_loopback
