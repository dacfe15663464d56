import pytest

from generation_worker.config import load_settings, providers
from generation_worker.config.providers import configured_providers

KEYS = {"GEMINI_API_KEY": "key", "REPLICATE_API_TOKEN": "token"}


def test_without_any_key_pictures_are_drawn_here():
    assert configured_providers(load_settings({})) == ["local"]
    assert configured_providers(load_settings({"LOCAL_PROVIDER": "false"})) == []


def test_a_provider_without_an_adapter_is_not_offered(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(providers, "ADAPTERS", ("local",))
    assert configured_providers(load_settings(KEYS)) == ["local"]


def test_the_preferred_one_comes_first(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(providers, "ADAPTERS", ("local", "replicate", "gemini"))
    assert configured_providers(load_settings(KEYS)) == ["gemini", "replicate", "local"]
    assert configured_providers(load_settings({"REPLICATE_API_TOKEN": "token"})) == ["replicate", "local"]
