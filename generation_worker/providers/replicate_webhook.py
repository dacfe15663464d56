"""Reads the webhooks that Replicate sends when a prediction ends. They are hints, and nothing more.

Replicate signs as Standard Webhooks says: ``webhook-id`` (the same when one is sent again), ``webhook-timestamp``, in
seconds, and ``webhook-signature`` over both and the body, with the account's secret. The body is the prediction, of
which only the id is read: how it stands is asked of Replicate itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated

from pydantic import BaseModel, StringConstraints, ValidationError
from standardwebhooks import Webhook, WebhookVerificationError

from generation_worker.domain.notice import Notice, NoticeRefused, SignatureInvalid
from generation_worker.providers.replicate_answers import ID


class _Told(BaseModel):
    """What is read of the body. Nesting beyond 200 levels, wherever it is, makes it unreadable."""

    id: Annotated[str, StringConstraints(pattern=f"^{ID.pattern}$")]


class ReplicateWebhook:
    """Verifies with any of ``secrets``, so that they can be exchanged without a gap. Safe to use from many threads."""

    most_bytes = 8_000_000
    """The prediction comes with its inputs, up to fourteen pictures as data: URIs."""

    def __init__(self, secrets: Sequence[str]) -> None:
        self._secrets = [Webhook(secret) for secret in secrets]

    def read(self, headers: Mapping[str, str], body: bytes) -> Notice:
        """The notice in a request with these headers, in lower case. Raises NoticeRefused, SignatureInvalid first.

        A webhook is refused when it was signed more than five minutes ago, or from now.
        """
        if not any(_is_signed(secret, headers, body) for secret in self._secrets):
            raise SignatureInvalid("The signature does not fit, or is not of these five minutes.")
        try:
            return Notice.of(_Told.model_validate_json(body).id, headers["webhook-id"])
        except ValidationError:
            pass
        raise NoticeRefused("The body is no prediction with an id.")


def _is_signed(secret: Webhook, headers: Mapping[str, str], body: bytes) -> bool:
    try:
        secret.verify(body, dict(headers), json_parse=False)
    except (WebhookVerificationError, ValueError):  # the latter for a body or a signature that cannot even be decoded
        return False
    return True
