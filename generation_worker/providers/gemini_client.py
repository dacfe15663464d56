"""The SDK, and nothing else: one client, one request, and the words of its answer. Loading this takes a second."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import cast

import httpx2
from google import genai
from google.genai import errors, types

from generation_worker.ports import GenerationRequest
from generation_worker.providers.gemini_answers import ErrorAnswer, Known
from generation_worker.providers.http_transport import watched_client

GOOGLE = "https://generativelanguage.googleapis.com"


class GeminiClient:
    """One connection pool for all threads, with as many connections as ``threads``."""

    def __init__(self, *, key: str, base_url: str | None, api_version: str, timeout: float, threads: int) -> None:
        address = base_url or GOOGLE  # always named: the SDK would look into the environment for another
        self._http = watched_client(address, connections=threads)
        self._client = genai.Client(
            api_key=key,
            vertexai=False,
            http_options=types.HttpOptions(
                base_url=address,
                api_version=api_version,
                timeout=_milliseconds(timeout),
                headers={"Accept-Encoding": "identity"},  # the picture does not shrink, and the limit on its size holds
                retry_options=types.HttpRetryOptions(attempts=1),  # the queue tries again, and counts what is paid
                httpx_client=self._http,
            ),
        )

    def ask(self, model: str, request: GenerationRequest, timeout: float) -> str:
        """The body of the answer. Raises ErrorAnswer, and whatever else the SDK and the network raise."""
        try:
            answer = self._client.models.generate_content(
                model=model, contents=list(_parts(request)), config=_config(request, timeout)
            )
        except errors.APIError as error:
            raise _error_answer(error) from None
        http = answer.sdk_http_response
        return (http.body if http else None) or ""

    def look(self, model: str, timeout: float) -> Known:
        """What Google says of the model, without using it. Raises as ``ask`` does."""
        options = types.HttpOptions(timeout=_milliseconds(timeout))
        try:
            found = self._client.models.get(model=model, config=types.GetModelConfig(http_options=options))
        except errors.APIError as error:
            raise _error_answer(error) from None
        return Known(found.name or "", found.display_name or "", tuple(found.supported_actions or ()))

    def close(self) -> None:
        self._client.close()
        self._http.close()


def _error_answer(error: errors.APIError) -> ErrorAnswer:
    details = cast("object", error.details)  # pyright: ignore[reportUnknownMemberType] - any JSON, or text in a dict
    response = cast("object", error.response)  # pyright: ignore[reportUnknownMemberType] - of one of five libraries
    return ErrorAnswer(error.code, details, response.headers if isinstance(response, httpx2.Response) else {})


def _parts(request: GenerationRequest) -> Iterator[types.Part]:
    """The pictures in their order, then what is to be done with them."""
    for picture in request.images:
        yield types.Part.from_bytes(data=picture.data, mime_type=picture.content_type)
    yield types.Part.from_text(text=request.prompt)


def _config(request: GenerationRequest, timeout: float) -> types.GenerateContentConfig:
    size = types.ImageConfig(aspect_ratio=request.aspect_ratio, image_size=request.image_size)
    return types.GenerateContentConfig(
        response_modalities=["IMAGE"],
        image_config=size if request.aspect_ratio or request.image_size else None,
        automatic_continuation=False,  # it would send, and pay for, a second request
        automatic_function_calling=types.AutomaticFunctionCallingConfig(disable=True),
        should_return_http_response=True,  # see gemini_answers
        http_options=types.HttpOptions(timeout=_milliseconds(timeout)),
    )


def _milliseconds(seconds: float) -> int:
    return max(1, math.ceil(seconds * 1000))
