"""What may be asked of jobs: one model for each kind, so that a generated client knows what goes into each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from fastapi import Body
from pydantic import Field

from generation_worker.domain.job import Status
from generation_worker.domain.payload import ImageConversion, ImageProcessing, Kind, TextToImage
from generation_worker.web.fields import Cursor, Moment, RequestModel, UserId

PROVIDER = r"^[a-z0-9_.-]+$"
Provider = Annotated[str, Field(min_length=1, max_length=100, pattern=PROVIDER, examples=["gemini"])]


class EnqueueCommon(RequestModel):
    """What every kind of job may say. The price is the fleet's, and nobody's to name."""

    user_id: UserId | None = Field(
        default=None, description="Who gets the image and pays. A key that is bound to a user has no need to say it."
    )
    provider: Provider | None = Field(default=None, description="By default the fleet's.")
    fallback_provider: Provider | None = Field(
        default=None, description="Makes the image while every breaker of the first is open."
    )
    priority: int = Field(
        default=0,
        strict=True,
        ge=-1_000_000,
        le=1_000_000,
        description="Lower goes first. Below 0, ahead of the others, asks for the scope `operate`.",
    )
    count: int = Field(default=1, strict=True, ge=1, le=100, description="Images; above 1 they make a batch.")
    run_at: Moment | None = Field(default=None, description="Earliest start.")
    deadline_at: Moment | None = Field(default=None, description="Latest end; by default a day after `run_at`.")


class EnqueueTextToImage(EnqueueCommon):
    """An image made from a prompt, or an edit of images by a prompt."""

    kind: Literal["text_to_image"]
    payload: TextToImage


class EnqueueImageConversion(EnqueueCommon):
    """A person wearing a garment."""

    kind: Literal["image_conversion"]
    payload: ImageConversion


class EnqueueImageProcessing(EnqueueCommon):
    """An image resized, thumbnailed or converted, without a provider."""

    kind: Literal["image_processing"]
    payload: ImageProcessing


EXAMPLES: Any = {
    "text_to_image": {
        "summary": "An image from a prompt",
        "value": {
            "kind": "text_to_image",
            "user_id": "ada",
            "payload": {"prompt": "a {{animal}} in a birch forest", "inputs": {"animal": "red fox"}},
        },
    },
    "image_conversion": {
        "summary": "A person in a garment",
        "value": {
            "kind": "image_conversion",
            "user_id": "ada",
            "payload": {"user_image": {"key": "uploads/me.jpg"}, "cloth_image": {"key": "shop/coat.png"}},
        },
    },
    "image_processing": {
        "summary": "A smaller image",
        "value": {
            "kind": "image_processing",
            "user_id": "ada",
            "payload": {
                "image": {"key": "uploads/me.jpg"},
                "operations": [{"type": "resize", "width": 512}],
            },
        },
    },
}
EnqueueBody = Annotated[
    EnqueueTextToImage | EnqueueImageConversion | EnqueueImageProcessing,
    Body(discriminator="kind", openapi_examples=EXAMPLES),
]


class JobFilters(RequestModel):
    """Which jobs to list."""

    user_id: UserId | None = Field(default=None, description="Of this user only.")
    status: list[Status] | None = Field(default=None, max_length=7, description="In one of these states.")
    kind: Kind | None = None
    limit: int = Field(default=20, ge=1, le=100, description="Most jobs of one page.")
    cursor: Cursor | None = None


def enqueue_values(
    body: EnqueueCommon, user_id: str, idempotency_key: str | None, traceparent: str | None
) -> Mapping[str, Any]:
    """``body`` as it is enqueued: what was not given is left out, so that equal requests stay equal."""
    values = body.model_dump(exclude_unset=True, exclude={"payload", "run_at", "deadline_at", "user_id"})
    payload: Any = body.model_dump(mode="json", include={"payload"}, exclude_unset=True)["payload"]
    return {
        **values,
        "payload": payload,
        "user_id": user_id,
        "run_at": body.run_at,
        "deadline_at": body.deadline_at,
        "idempotency_key": idempotency_key,
        "traceparent": traceparent,
    }
