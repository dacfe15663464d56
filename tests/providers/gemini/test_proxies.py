"""Proxies of the environment, and TLS."""

from __future__ import annotations

import ipaddress
import ssl
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from generation_worker.domain.errors import CancelRequested, ProviderUnavailable
from generation_worker.providers.http_transport import proxy_for
from tests.providers.gemini.helpers import Control, make_provider, raised
from tests.providers.helpers import a_request
from tests.simulators import replies
from tests.simulators.gemini import GeminiSimulator
from tests.simulators.gemini_bodies import image_answer
from tests.simulators.pictures import picture
from tests.simulators.replies import json_reply
from tests.simulators.server import SimulatorServer

GOOGLE = "https://generativelanguage.googleapis.com"


@pytest.mark.parametrize(
    ("environment", "url", "proxy"),
    [
        ({}, GOOGLE, None),
        ({"HTTPS_PROXY": "http://proxy:3128"}, GOOGLE, "proxy"),
        ({"https_proxy": "proxy:3128"}, GOOGLE, "proxy"),
        ({"HTTP_PROXY": "http://proxy:3128"}, GOOGLE, None),
        ({"ALL_PROXY": "http://proxy:3128"}, GOOGLE, "proxy"),
        ({"ALL_PROXY": "http://proxy:3128", "NO_PROXY": ".googleapis.com"}, GOOGLE, None),
        ({"ALL_PROXY": "http://proxy:3128", "NO_PROXY": "*"}, GOOGLE, None),
        ({"HTTP_PROXY": "http://proxy:3128", "NO_PROXY": "127.0.0.1"}, "http://127.0.0.1:8091", None),
        ({"HTTP_PROXY": "http://proxy:3128"}, "http://127.0.0.1:8091", "proxy"),
    ],
)
def test_the_proxy_is_the_environments(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], url: str, proxy: str | None
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    found = proxy_for(url)
    assert (found and found.url.host.decode()) == proxy


def test_a_proxy_may_want_a_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://ada:p%40ss@proxy:3128")
    found = proxy_for(GOOGLE)
    assert found is not None
    assert found.auth == (b"ada", b"p@ss")
    assert found.url.host == b"proxy"


def test_a_call_goes_through_the_proxy(
    server: SimulatorServer, simulator: GeminiSimulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", server.url)
    provider = make_provider("http://gemini.example")
    assert provider.generate(a_request(), Control()).data == picture("a fox")
    provider.close()
    assert simulator.requests[0].path.startswith("http://gemini.example/v1beta/")


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A key and its certificate for 127.0.0.1, signed by itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    signed = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False)
        .sign(key, hashes.SHA256())
    )
    plain = serialization.NoEncryption()
    file = tmp_path_factory.mktemp("tls") / "server.pem"
    file.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain)
        + signed.public_bytes(serialization.Encoding.PEM)
    )
    return file


@pytest.fixture
def secure(certificate: Path) -> Iterator[tuple[SimulatorServer, GeminiSimulator]]:
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate)
    simulator = GeminiSimulator()
    with SimulatorServer([simulator], tls=tls) as server:
        yield server, simulator


def test_over_tls_a_slow_answer_is_waited_for_and_a_cancel_is_heard(
    secure: tuple[SimulatorServer, GeminiSimulator], certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A read that is tried again after a slice must not lose bytes of a TLS record."""
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    server, simulator = secure
    provider = make_provider(server.url)
    body = replies.body_of(image_answer(picture("late")))
    simulator.script(replies.later(0.7, json_reply(image_answer(picture("late")))), replies.drip(body, 0.001))
    for _ in range(2):
        assert provider.generate(a_request(), Control()).data == picture("late")
    simulator.script(replies.hang)
    control = Control()
    control.stop_in(0.1, CancelRequested)
    assert type(raised(lambda: provider.generate(a_request(), control))) is CancelRequested
    provider.close()


def test_a_certificate_that_nobody_knows_is_not_trusted(secure: tuple[SimulatorServer, GeminiSimulator]) -> None:
    server, simulator = secure
    provider = make_provider(server.url)
    error = raised(lambda: provider.generate(a_request(), Control()))
    provider.close()
    assert type(error) is ProviderUnavailable
    assert not error.spent
    assert simulator.requests == []
