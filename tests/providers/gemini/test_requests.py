"""The request that Google receives, exactly once."""

from __future__ import annotations

from typing import Any

import pytest

from generation_worker.domain.errors import CallLost, InternalError, ProviderRejected
from generation_worker.ports import Picture, Provider
from generation_worker.providers.gemini import GeminiProvider
from generation_worker.providers.gemini_client import GeminiClient
from tests.providers.gemini.helpers import KEY, Control, a_picture, make_provider, raised
from tests.providers.helpers import a_request
from tests.simulators.gemini import GeminiSimulator, Request
from tests.simulators.gemini_bodies import MODEL
from tests.simulators.pictures import picture
from tests.simulators.server import SimulatorServer


def sent(provider: GeminiProvider, simulator: GeminiSimulator, **request: Any) -> Request:
    provider.generate(a_request(**request), Control())
    assert len(simulator.requests) == 1
    return simulator.requests[0]


def test_it_is_a_provider(provider: GeminiProvider) -> None:
    port: Provider = provider
    assert (port.name, port.key_label) == ("gemini", "gemini-e78f59c3")


def test_a_text_becomes_an_image(provider: GeminiProvider, simulator: GeminiSimulator) -> None:
    request = sent(provider, simulator, prompt="a fox")
    assert request.path == f"/v1beta/models/{MODEL}:generateContent"
    assert request.headers["x-goog-api-key"] == KEY
    assert request.headers["accept-encoding"] == "identity"
    assert request.body == {
        "contents": [{"parts": [{"text": "a fox"}], "role": "user"}],
        "generationConfig": {"responseModalities": ["IMAGE"]},
    }


def test_the_picture_is_the_prompts(provider: GeminiProvider, simulator: GeminiSimulator) -> None:
    assert provider.generate(a_request("a fox"), Control()).data == picture("a fox")
    assert provider.generate(a_request("an ox", aspect_ratio="16:9"), Control()).data == picture("an ox", "16:9")


def test_pictures_come_in_order_and_before_the_text(provider: GeminiProvider, simulator: GeminiSimulator) -> None:
    pictures = (a_picture("person"), a_picture("garment", "image/jpeg"), a_picture("shoes", "image/webp"))
    request = sent(provider, simulator, images=pictures)
    kinds = [part["inlineData"]["mime_type"] for part in request.parts[:3]]
    assert kinds == ["image/png", "image/jpeg", "image/webp"]
    assert request.pictures == [one.data for one in pictures]
    assert request.parts[3:] == [{"text": "a fox"}]


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ({"aspect_ratio": "16:9"}, {"aspectRatio": "16:9"}),
        ({"image_size": "512"}, {"imageSize": "512"}),
        ({"aspect_ratio": "1:8", "image_size": "4K"}, {"aspectRatio": "1:8", "imageSize": "4K"}),
    ],
)
def test_what_is_asked_is_passed_on(
    provider: GeminiProvider, simulator: GeminiSimulator, asked: dict[str, str], told: dict[str, str]
) -> None:
    assert sent(provider, simulator, **asked).config["imageConfig"] == told


@pytest.mark.parametrize("prompt", ["夜の街 🦊", "a\nb\t\0c", "x" * 10_000, ' " \\ </script>'])
def test_any_words_arrive_as_they_are(provider: GeminiProvider, simulator: GeminiSimulator, prompt: str) -> None:
    assert sent(provider, simulator, prompt=prompt).prompt == prompt


def test_what_the_sdk_does_not_take_is_rejected_unsent(provider: GeminiProvider, simulator: GeminiSimulator) -> None:
    error = raised(lambda: provider.generate(a_request(aspect_ratio=16 / 9), Control()))
    assert type(error) is ProviderRejected
    assert not error.spent
    assert simulator.requests == []


def test_an_earlier_call_is_lost_and_no_new_one_begun(provider: GeminiProvider, simulator: GeminiSimulator) -> None:
    assert type(raised(lambda: provider.generate(a_request(resume="resp-1"), Control()))) is CallLost
    assert simulator.requests == []


@pytest.mark.parametrize("fault", [KeyError, AttributeError, TypeError, RecursionError])
def test_a_fault_of_ours_is_not_the_providers(
    provider: GeminiProvider, simulator: GeminiSimulator, fault: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> str:
        raise fault(KEY)

    monkeypatch.setattr(GeminiClient, "generate", broken)
    error = raised(lambda: provider.generate(a_request(), Control()))
    assert type(error) is InternalError
    assert error.message == f"{fault.__name__} before the request to Gemini was sent."
    assert not error.spent
    assert simulator.requests == []


def test_large_pictures_are_sent_whole(provider: GeminiProvider, simulator: GeminiSimulator) -> None:
    data = bytes(range(256)) * 20_000
    assert sent(provider, simulator, images=(Picture(data, "image/png", 4096, 4096),)).pictures == [data]


def test_google_is_told_how_long_we_wait(provider: GeminiProvider, simulator: GeminiSimulator) -> None:
    provider.generate(a_request(), Control())
    provider.generate(a_request(), Control(seconds=3.0))
    assert [request.headers["x-server-timeout"] for request in simulator.requests] == ["20", "3"]


def test_address_version_and_model_are_settings(server: SimulatorServer, simulator: GeminiSimulator) -> None:
    provider = make_provider(f"{server.url}/a/gateway/", api_version="v1", model="gemini-3-pro-image")
    request = sent(provider, simulator)
    provider.close()
    assert request.path == "/a/gateway/v1/models/gemini-3-pro-image:generateContent"


def test_the_environment_does_not_choose_another_service(
    server: SimulatorServer, simulator: GeminiSimulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("GOOGLE_GENAI_USE_VERTEXAI", "GOOGLE_GENAI_USE_ENTERPRISE"):
        monkeypatch.setenv(name, "true")
    monkeypatch.setenv("GOOGLE_API_KEY", "another")
    monkeypatch.setenv("GOOGLE_GENAI_API_VERSION", "v1")
    monkeypatch.setenv("GOOGLE_GENAI_HTTP_CLIENT", "httpx")
    provider = make_provider(server.url)
    request = sent(provider, simulator)
    provider.close()
    assert request.path.startswith("/v1beta/models/")
    assert request.headers["x-goog-api-key"] == KEY


def test_each_key_has_a_label_of_its_own() -> None:
    labels = {make_provider("http://127.0.0.1:9", key=key).key_label for key in ("one", "two", "two")}
    assert len(labels) == 2


@pytest.mark.parametrize("key", ["", " s3cret", "s3cret\n", "s3cr\xe9t", "s3cret\0"])
def test_a_key_that_cannot_be_sent_is_refused_at_once(key: str) -> None:
    with pytest.raises(ValueError, match="printable ASCII") as caught:
        make_provider("http://127.0.0.1:9", key=key)
    assert "s3cr" not in str(caught.value)
