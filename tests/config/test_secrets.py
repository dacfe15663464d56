"""No value of a secret in anything that people read."""

import string

import pytest
from hypothesis import given, settings, strategies as st

from generation_worker.config import ConfigurationError, describe, load_settings

SECRETS = {
    "DATABASE_URL": "{}",
    "DIRECT_URL": "postgresql://app:{}@h/d?schema=x&pgbouncer=true",
    "GEMINI_API_KEY": "{},{}",
    "REPLICATE_API_TOKEN": "{}",
    "REPLICATE_WEBHOOK_SECRET": "{},whsec_{}",
    "AWS_ACCESS_KEY_ID": "{}",
    "AWS_SECRET_ACCESS_KEY": "{}",
    "R2_ACCESS_KEY_ID": "{}",
    "R2_SECRET_ACCESS_KEY": "{}",
    "REDIS_URL": "redis://:{}@h",
    "SUPABASE_SERVICE_ROLE_KEY": "{}",
}
strange = st.text(st.sampled_from("@/?#%&= :,'\"\\\n\x1b[]é" + string.ascii_letters), max_size=12)


@settings(deadline=None)
@given(strange, st.sets(st.sampled_from(sorted(SECRETS)), min_size=1), st.sampled_from(["5", "0"]))
def test_no_secret_in_problems_notices_or_rows(middle: str, names: set[str], concurrency: str) -> None:
    secret = f"Zq7x{middle}Zq9x"
    environ = {name: SECRETS[name].format(secret, secret) for name in names} | {"WORKER_CONCURRENCY": concurrency}
    try:
        loaded = load_settings(environ)
    except ConfigurationError as error:
        said = f"{error!r} {error} {error.problems}"
    else:
        said = f"{loaded!r} {loaded} {loaded.notices} {describe(loaded)} {loaded.model_dump()}"
    assert "Zq7x" not in said
    assert "Zq9x" not in said


def test_overrides_are_hidden_too() -> None:
    with pytest.raises(ConfigurationError) as caught:
        load_settings({}, replicate_api_token="two words")
    assert "two words" not in str(caught.value)
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


def test_secret_values_are_all_there_for_the_logs_to_hide() -> None:
    url = "postgresql://app:p%40w@h/d"
    hooks = ["whsec_bm9ib2R5J3MgYnV0IG91cnM=", "whsec_dGhlIG9uZSB0aGF0IGNvbWVz"]
    environ = {
        "DATABASE_URL": url,
        "GEMINI_API_KEY": "key-a,key-b",
        "REPLICATE_API_TOKEN": "token-c",
        "REPLICATE_WEBHOOK_SECRET": ", ".join(hooks),
        "REPLICATE_WEBHOOK_URL": "https://worker.example.com",
    }
    assert set(load_settings(environ).secret_values()) == {url, "p@w", "key-a", "key-b", "token-c", *hooks}
