"""A simulated internet with one site, and a fetcher that applies all of its rules."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest
import trustme

from generation_worker.fetch.fetcher import WebFetcher
from tests.fetch.world import Attempt, Site, World, server_with


@pytest.fixture(scope="session")
def ca() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def trust(ca: trustme.CA) -> ssl.SSLContext:
    """Trusts the world's authority, and nobody else."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    authority: Any = ca
    authority.configure_trust(context)
    return context


@pytest.fixture
def site() -> Site:
    return Site()


@pytest.fixture
def world(site: Site, ca: trustme.CA, trust: ssl.SSLContext) -> Iterator[World]:
    with server_with(site, ca) as server:
        port = urlsplit(server.url).port
        assert port is not None
        yield World(site, port, trust)


@pytest.fixture
def fetcher(world: World) -> WebFetcher:
    return world.fetcher()


@pytest.fixture
def attempt() -> Attempt:
    return Attempt()
