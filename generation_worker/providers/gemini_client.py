"""The calls into the SDK google-genai. A module of its own, because importing the SDK takes a second."""

import math
from collections.abc import Iterator
from typing import cast

import httpx2
from google import genai
from google.genai import errors, types

from generation_worker.ports import GenerationRequest
from generation_worker.providers.gemini_answers import ErrorResponse, ModelInfo
from generation_worker.providers.http_transport import watched_client

GOOGLE = "https://generativelanguage.googleapis.com"


class GeminiClient:
    """The SDK's client over one connection pool for all threads. ``timeout`` is in seconds."""

    def __init__(self, *, key: str, base_url: str | None, api_version: str, timeout: float, threads: int) -> None:
        address = base_url or GOOGLE  # always explicit: without it the SDK reads an address from the environment
        self._http = watched_client(address, connections=threads)
        self._client = genai.Client(
            api_key=key,
            vertexai=False,
            http_options=types.HttpOptions(
                base_url=address,
                api_version=api_version,
                timeout=_milliseconds(timeout),
                headers={"Accept-Encoding": "identity"},  # a picture does not get smaller, and its size stays bounded
                retry_options=types.HttpRetryOptions(attempts=1),  # the queue retries and counts paid calls
                httpx_client=self._http,
            ),
        )

    def generate(self, model: str, request: GenerationRequest, timeout: float) -> str:
        """The body of the response. Raises ErrorResponse, and whatever else the SDK and the network raise."""
        try:
            response = self._client.models.generate_content(
                model=model, contents=list(_parts(request)), config=_config(request, timeout)
            )
        except errors.APIError as error:
            raise _error_response(error) from None
        http = response.sdk_http_response
        return (http.body if http else None) or ""

    def get_model(self, model: str, timeout: float) -> ModelInfo:
        """Look up the model without using it. Raises what ``generate`` raises."""
        options = types.HttpOptions(timeout=_milliseconds(timeout))
        try:
            found = self._client.models.get(model=model, config=types.GetModelConfig(http_options=options))
        except errors.APIError as error:
            raise _error_response(error) from None
        return ModelInfo(found.name or "", found.display_name or "", tuple(found.supported_actions or ()))

    def close(self) -> None:
        self._client.close()
        self._http.close()


def _error_response(error: errors.APIError) -> ErrorResponse:
    details = cast("object", error.details)  # pyright: ignore[reportUnknownMemberType] - any JSON, or text in a dict
    response = cast("object", error.response)  # pyright: ignore[reportUnknownMemberType] - of one of five libraries
    return ErrorResponse(error.code, details, response.headers if isinstance(response, httpx2.Response) else {})


def _parts(request: GenerationRequest) -> Iterator[types.Part]:
    """The input pictures in their order, then the prompt."""
    for picture in request.images:
        yield types.Part.from_bytes(data=picture.data, mime_type=picture.content_type)
    yield types.Part.from_text(text=request.prompt)


def _config(request: GenerationRequest, timeout: float) -> types.GenerateContentConfig:
    size = types.ImageConfig(aspect_ratio=request.aspect_ratio, image_size=request.image_size)
    return types.GenerateContentConfig(
        response_modalities=["IMAGE"],
        image_config=size if request.aspect_ratio or request.image_size else None,
        automatic_continuation=False,  # it would send and pay for a second request
        automatic_function_calling=types.AutomaticFunctionCallingConfig(disable=True),
        should_return_http_response=True,  # gemini_answers reads the raw body
        http_options=types.HttpOptions(timeout=_milliseconds(timeout)),
    )


def _milliseconds(seconds: float) -> int:
    return max(1, math.ceil(seconds * 1000))
