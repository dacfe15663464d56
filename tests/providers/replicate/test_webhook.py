"""Replicate's webhooks: signature, age, and the id that is read."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, strategies as st
from replicate.webhook import Webhooks, WebhookSigningSecret
from standardwebhooks import Webhook

from generation_worker.domain.webhook import Notice, NoticeRefused, SignatureInvalid
from generation_worker.providers.replicate import ReplicateWebhook
from tests.simulators.replicate_bodies import prediction, succeeded
from tests.simulators.replicate_hooks import OTHER_SECRET, SECRET, signed

BODY = json.dumps(succeeded("https://files.example/1.png")).encode()
ID = succeeded(None)["id"]
WEBHOOK = ReplicateWebhook([SECRET])


def refusal(headers: Mapping[str, str], body: bytes = BODY, webhook: ReplicateWebhook = WEBHOOK) -> NoticeRefused:
    with pytest.raises(NoticeRefused) as caught:
        webhook.read(headers, body)
    assert caught.value.__cause__ is caught.value.__context__ is None  # nothing of the body goes into a log
    return caught.value


def test_what_replicate_signs_is_read() -> None:
    assert WEBHOOK.read(signed(BODY, "msg_1"), BODY) == Notice.of(ID, "msg_1")


def test_replicates_own_library_accepts_the_same() -> None:
    """So the headers of these tests are Replicate's."""
    headers = signed(BODY, "msg_1")
    secret = WebhookSigningSecret(key=SECRET)
    Webhooks.validate(headers=headers, body=BODY.decode(), secret=secret, tolerance=300)


def test_a_known_signature() -> None:
    """The vector that Replicate's library and the implementations of Standard Webhooks are tested with."""
    secret, moment, delivery = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", 1614265330, "msg_p5jXN8AQM9LWM0D4loKWxJek"
    body, signature = '{"test": 2432232314}', "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
    assert Webhook(secret).sign(delivery, datetime.fromtimestamp(moment, UTC), body) == signature
    assert signed(body.encode(), delivery, secret=secret, at=moment)["webhook-signature"] == signature


def test_a_webhook_that_comes_again_is_the_same_notice() -> None:
    first = WEBHOOK.read(signed(BODY, "msg_1", at=time.time() - 60), BODY)
    assert WEBHOOK.read(signed(BODY, "msg_1"), BODY) == first
    assert WEBHOOK.read(signed(BODY, "msg_2"), BODY) != first


@pytest.mark.parametrize("age", [-290, 290])
def test_five_minutes_are_allowed(age: float) -> None:
    assert WEBHOOK.read(signed(BODY, "msg_1", at=time.time() - age), BODY).ref == ID


@pytest.mark.parametrize("age", [-310, 310, 3600, 1e9])
def test_what_was_signed_at_another_time_is_refused(age: float) -> None:
    assert isinstance(refusal(signed(BODY, "msg_1", at=time.time() - age)), SignatureInvalid)


@pytest.mark.parametrize(
    "changes",
    [
        {"webhook-id": "msg_2"},
        {"webhook-timestamp": str(int(time.time()) - 10)},
        {"webhook-timestamp": "yesterday"},
        {"webhook-timestamp": "nan"},
        {"webhook-timestamp": "1e400"},
        {"webhook-signature": ""},
        {"webhook-signature": "v1"},
        {"webhook-signature": "v1,"},
        {"webhook-signature": "v1,a,b"},
        {"webhook-signature": "v1,%%%"},
        {"webhook-signature": "v1,é"},
        {"webhook-signature": "v1,AAAA v1,BBBB"},
    ],
)
def test_headers_that_were_changed_are_refused(changes: dict[str, str]) -> None:
    assert isinstance(refusal(signed(BODY, "msg_1", at=time.time() - 5) | changes), SignatureInvalid)


@pytest.mark.parametrize("missing", ["webhook-id", "webhook-timestamp", "webhook-signature"])
def test_a_header_that_is_missing_is_refused(missing: str) -> None:
    headers = {name: value for name, value in signed(BODY, "msg_1").items() if name != missing}
    assert isinstance(refusal(headers), SignatureInvalid)


def test_a_signature_of_another_version_does_not_count() -> None:
    headers = signed(BODY, "msg_1")
    headers["webhook-signature"] = headers["webhook-signature"].replace("v1,", "v1a,")
    assert isinstance(refusal(headers), SignatureInvalid)


def test_one_good_signature_among_several_is_enough() -> None:
    headers = signed(BODY, "msg_1")
    headers["webhook-signature"] = f"v1a,AAAA v1,{base64.b64encode(b'x' * 32).decode()} {headers['webhook-signature']}"
    assert WEBHOOK.read(headers, BODY).ref == ID


@pytest.mark.parametrize("body", [BODY + b" ", BODY.replace(b"succeeded", b"failed"), b"", b"\xff\xfe"])
def test_a_body_that_was_changed_is_refused(body: bytes) -> None:
    assert isinstance(refusal(signed(BODY, "msg_1"), body), SignatureInvalid)


def test_another_secret_is_refused() -> None:
    assert isinstance(refusal(signed(BODY, "msg_1", secret=OTHER_SECRET)), SignatureInvalid)


@pytest.mark.parametrize("secret", [SECRET, OTHER_SECRET])
def test_while_secrets_are_exchanged_either_will_do(secret: str) -> None:
    both = ReplicateWebhook([OTHER_SECRET, SECRET])
    assert both.read(signed(BODY, "msg_1", secret=secret), BODY).ref == ID


def test_without_a_secret_nothing_is_believed() -> None:
    assert isinstance(refusal(signed(BODY, "msg_1"), webhook=ReplicateWebhook([])), SignatureInvalid)


@pytest.mark.parametrize(
    "told",
    [
        *(None, 7, "p-1", [], {}, {"id": None}, {"id": 7}, {"id": ["p"]}),
        *({"id": ""}, {"id": "two words"}, {"id": "p\n"}, {"id": "../p"}, {"id": "é"}, {"id": "x" * 101}),
    ],
)
def test_what_is_signed_and_no_prediction_is_refused(told: Any) -> None:
    body = json.dumps(told).encode()
    error = refusal(signed(body, "msg_1"), body)
    assert error.code == "invalid_body"


@pytest.mark.parametrize("body", [b"", b"{", b"nonsense", b'{"id": "p"} and more', b"\x00"])
def test_what_is_signed_and_no_json_is_refused(body: bytes) -> None:
    assert refusal(signed(body, "msg_1"), body).code == "invalid_body"


@pytest.mark.parametrize("depth", [300, 1_000_000])
@pytest.mark.parametrize(("opening", "closing"), [(b"[", b"]"), (b'{"a":', b"}")])
def test_what_is_nested_too_deep_is_refused(depth: int, opening: bytes, closing: bytes) -> None:
    body = b'{"id": "p-1", "output": ' + opening * depth + b"1" + closing * depth + b"}"
    assert refusal(signed(body, "msg_1"), body).code == "invalid_body"


def test_nothing_but_the_id_matters() -> None:
    body = json.dumps(prediction("p-1", "starting", output={"a": [1, "x" * 1_000_000]})).encode()
    assert WEBHOOK.read(signed(body, "msg_1"), body).ref == "p-1"


@given(st.binary(max_size=200), st.dictionaries(st.sampled_from(sorted(signed(b"", "x"))), st.text(max_size=40)))
def test_whatever_comes_is_refused_in_words_of_ours(body: bytes, headers: dict[str, str]) -> None:
    assert refusal(headers, body).code in ("invalid_signature", "invalid_body")
