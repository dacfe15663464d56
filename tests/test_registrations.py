"""Which providers are offered, what they are built with, and what limits them."""

import pytest

from generation_worker.config import ConfigurationError, load_settings
from generation_worker.registrations import REGISTRATIONS, build_providers, configured_providers, limited_keys

KEYS = {"GEMINI_API_KEY": "key", "REPLICATE_API_TOKEN": "token"}


def test_without_any_key_pictures_are_drawn_here():
    assert configured_providers(load_settings({})) == ["local"]
    assert configured_providers(load_settings({"LOCAL_PROVIDER": "false"})) == []


def test_the_preferred_one_comes_first():
    assert configured_providers(load_settings(KEYS)) == ["gemini", "replicate", "local"]
    assert configured_providers(load_settings({"REPLICATE_API_TOKEN": "token"})) == ["replicate", "local"]


def test_no_two_registrations_have_one_name():
    names = [each.name for each in REGISTRATIONS]
    assert len(names) == len(set(names))


def test_an_adapter_has_the_name_that_it_is_registered_by():
    settings = load_settings(KEYS)
    assert [each.name for each in build_providers(settings)] == [each.name for each in REGISTRATIONS]


def test_each_key_has_an_adapter_and_a_limit_of_its_own():
    settings = load_settings({"GEMINI_API_KEY": "one,two", "GEMINI_RPM": "7", "REPLICATE_API_TOKEN": "token"})
    providers = build_providers(settings)
    assert [each.name for each in providers] == ["gemini", "gemini", "replicate", "local"]
    keys = limited_keys(settings, providers)
    assert [(key.provider, key.calls_per_minute) for key in keys] == [("gemini", 7), ("gemini", 7), ("replicate", 60)]
    assert [key.label for key in keys] == [each.key_label for each in providers[:3]]
    assert len({key.label for key in keys}) == 3


def test_what_an_adapter_refuses_is_said_of_its_setting():
    with pytest.raises(ConfigurationError, match=r"^LOCAL_FAULTS: "):
        build_providers(load_settings({"LOCAL_FAULTS": "no fault at all"}))
