"""What a model is asked, in Replicate's words."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from typing import Any

from generation_worker.ports import GenerationRequest, Picture

LARGEST_DATA_URI = 256_000
"""Characters. Larger pictures are uploaded first and named by their address."""
USUAL_SIZE = "1K"
"""What every model makes when no size is named; some know no other and refuse the word."""


def model_input(request: GenerationRequest, upload: Callable[[Picture], str]) -> dict[str, Any]:
    """The prediction's input; what was not asked for is left to the model. ``upload`` gives a picture an address."""
    size = request.image_size if request.image_size != USUAL_SIZE else None
    wanted: dict[str, Any] = {
        "prompt": request.prompt,
        "image_input": [_data_uri(picture) or upload(picture) for picture in request.images],
        "aspect_ratio": request.aspect_ratio,
        "resolution": size,
        "output_format": "png",  # what is stored is made from it, so nothing may be lost before
    }
    return {name: value for name, value in wanted.items() if value}


def creation(model: str, model_input: Mapping[str, Any], webhook: str | None) -> tuple[str, dict[str, Any]]:
    """Path and body of the request that creates a prediction by ``owner/name`` or ``owner/name:version``.

    ``webhook`` is the address that Replicate is to tell when the prediction has ended, and only then.
    """
    told = {"webhook": webhook, "webhook_events_filter": ["completed"]} if webhook else {}
    name, _, version = model.partition(":")
    if version:
        return "/v1/predictions", {"version": version, "input": model_input, **told}
    return f"/v1/models/{name}/predictions", {"input": model_input, **told}


def _data_uri(picture: Picture) -> str | None:
    head = f"data:{picture.content_type};base64,"
    if len(head) + (len(picture.data) + 2) // 3 * 4 > LARGEST_DATA_URI:
        return None
    return head + base64.b64encode(picture.data).decode()
