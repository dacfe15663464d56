"""Secrets are redacted in every form in which they can occur."""

import json
import time
from io import StringIO
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from generation_worker.log.redaction import hide_secrets, is_secret_key, known_secrets, redact
from generation_worker.log.setup import configure, get_logger

log = get_logger("test")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("postgres://app:pw-secret@h/d", "postgres://app:***@h/d"),
        ("postgres://app:p@secret@h/d", "postgres://app:***@h/d"),
        ("postgres://app:pw/secret@h/d", "postgres://app:***@h/d"),
        ("redis://:pw-secret@h and more", "redis://:***@h and more"),
        ("Authorization: Bearer pw-secret.x", "Authorization: ***"),
        ("{'Authorization': 'Basic cHctc2VjcmV0'}", "{'Authorization': ***}"),
        ('{"authorization": "Token pw-secret", "a": 1}', '{"authorization": ***, "a": 1}'),
        ("sent Bearer pw-secret-123", "sent Bearer ***"),
        ("x-goog-api-key: pw-secret", "x-goog-api-key: ***"),
        ("{'x-goog-api-key': 'pw-secret'}", "{'x-goog-api-key': ***}"),
        ("https://h/k?X-Amz-Signature=pwsecret&a=1", "https://h/k?X-Amz-Signature=***&a=1"),
        ("https://h/k?a=1&X-Amz-Security-Token=pw%2Fsecret", "https://h/k?a=1&X-Amz-Security-Token=***"),
        ("https://h/v1?key=pw-secret&alt=sse", "https://h/v1?key=***&alt=sse"),
        ("host=h password=pw-secret dbname=d", "host=h password=*** dbname=d"),
        ("host=h password='pw secret' dbname=d", "host=h password=*** dbname=d"),
        (r"host=h password='pw \'secret' dbname=d", "host=h password=*** dbname=d"),
        ("{'x-goog-api-key': b'pw-secret'}", "{'x-goog-api-key': ***}"),
        ("AIzaSyA1234567890123456789012345678901", "***"),
        ("r8_0123456789012345678901234567890123456", "***"),
        ("whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD", "***"),
        ("no key gw_live_0123456789ab_" + "0af3" * 16 + " here", "no key *** here"),
        ("GET http://localhost:8080/users/a@b.c", "GET http://localhost:8080/users/a@b.c"),
        ("http://[::1]:8080/health", "http://[::1]:8080/health"),
        ("the bearer of this message", "the bearer of this message"),
        ("job.claimed attempt=1 lease_token: 12", "job.claimed attempt=1 lease_token: 12"),
    ],
)
def test_hides_by_shape(text: str, expected: str) -> None:
    assert redact(text) == expected


@pytest.mark.parametrize("key", ["Authorization", "x-goog-api-key", "password", "db_password", "api_key", "set-cookie"])
def test_hides_by_key(key: str) -> None:
    assert is_secret_key(key)


@pytest.mark.parametrize("key", ["job_id", "lease_token", "key_label", "tokens", "passwords_checked", "secretary"])
def test_other_keys_tell_nothing(key: str) -> None:
    assert not is_secret_key(key)


@pytest.mark.parametrize("form", ["json", "console"])
def test_known_values_appear_nowhere(form: Any) -> None:
    stream = StringIO()
    secret = "pw'\"s\\cr/é?t"
    hide_secrets([secret])
    configure("info", form, stream)
    try:
        raise ValueError(f"could not use {secret!r}") from OSError(quote(secret, safe=""), json.dumps(secret))
    except ValueError as error:
        error.add_note(f"note {secret}")
        log.exception(f"with {secret}", value=secret, nested={"a": [secret, {secret: secret}]}, error=error)
    assert stream.getvalue().count("***") >= 6
    for part in ("s\\cr", "s\\\\cr", "cr/", "cr%2F"):
        assert part not in stream.getvalue()


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(min_size=4, max_size=40), st.text(max_size=3000), st.text(max_size=20))
def test_a_known_value_is_hidden_wherever_it_stands(word: str, before: str, after: str) -> None:
    secret = f"Zq7{word}Zq9"
    stream = StringIO()
    known_secrets.clear()
    hide_secrets([secret])
    configure("info", "json", stream)
    log.info("x", value=f"{before}{secret}{after}", repr=repr(secret), url=f"http://h/{quote(secret)}")
    assert "Zq7" not in stream.getvalue().replace(before, "") or "Zq7" in before
    assert "Zq9" not in stream.getvalue().replace(after, "") or "Zq9" in after


def test_short_values_do_not_wreck_the_lines() -> None:
    hide_secrets(["", "a", "abc"])
    assert redact("abc a") == "abc a"


def test_a_longer_secret_is_hidden_whole() -> None:
    hide_secrets(["secret", "secret-and-more"])
    assert redact("secret-and-more secret") == "*** ***"


@pytest.mark.parametrize(
    "text", ["://a:" * 4000, "password=" * 2000, "x-api-key: '" * 2000, "&key=" * 4000, "a:" * 9000, "bearer " * 3000]
)
def test_no_text_takes_long(text: str) -> None:
    start = time.process_time()
    redact(text)
    assert time.process_time() - start < 1
