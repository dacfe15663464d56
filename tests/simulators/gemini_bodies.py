"""JSON bodies as Google's API sends them."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Any

MODEL = "gemini-nano-banana-2.1"
USAGE = {
    "promptTokenCount": 10,
    "candidatesTokenCount": 1120,
    "thoughtsTokenCount": 90,
    "totalTokenCount": 1220,
    "candidatesTokensDetails": [{"modality": "IMAGE", "tokenCount": 1120}],
}


def text_part(text: str, *, thought: bool = False) -> dict[str, Any]:
    return {"text": text, **({"thought": True} if thought else {})}


def image_part(data: bytes, *, thought: bool = False) -> dict[str, Any]:
    encoded = base64.b64encode(data).decode()
    return {"inlineData": {"mimeType": "image/png", "data": encoded}, **({"thought": True} if thought else {})}


def candidate(parts: Sequence[dict[str, Any]] | None, finish_reason: str | None = "STOP") -> dict[str, Any]:
    """``parts`` None is a candidate without content, as it comes when something was held back."""
    content = {} if parts is None else {"content": {"role": "model", "parts": list(parts)}}
    return {**content, **({"finishReason": finish_reason} if finish_reason else {}), "index": 0}


def answer(*candidates: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {
        "candidates": list(candidates),
        "usageMetadata": USAGE,
        "modelVersion": MODEL,
        "responseId": "resp-123",
        **more,
    }


def image_answer(data: bytes) -> dict[str, Any]:
    return answer(candidate([image_part(data)]))


def blocked_prompt(reason: str = "PROHIBITED_CONTENT") -> dict[str, Any]:
    return {"promptFeedback": {"blockReason": reason}, "usageMetadata": {"promptTokenCount": 10}, "modelVersion": MODEL}


def error(code: int, status: str, message: str, details: Sequence[dict[str, Any]] = ()) -> dict[str, Any]:
    told = {"code": code, "message": message, "status": status}
    return {"error": {**told, **({"details": list(details)} if details else {})}}


def error_info(reason: str) -> dict[str, Any]:
    kind = "type.googleapis.com/google.rpc.ErrorInfo"
    return {"@type": kind, "reason": reason, "domain": "googleapis.com", "metadata": {"service": "generativelanguage"}}


def retry_info(delay: Any) -> dict[str, Any]:
    return {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": delay}


def quota_failure(*quota_ids: str) -> dict[str, Any]:
    metric = "generativelanguage.googleapis.com/generate_content_requests"
    violations = [{"quotaMetric": metric, "quotaId": quota_id, "quotaValue": "10"} for quota_id in quota_ids]
    return {"@type": "type.googleapis.com/google.rpc.QuotaFailure", "violations": violations}


PER_MINUTE = "GenerateRequestsPerMinutePerProjectPerModel"
PER_DAY = "GenerateRequestsPerDayPerProjectPerModel"


def rate_limited(delay: Any = "34.074824224s", quota_id: str = PER_MINUTE) -> dict[str, Any]:
    message = "You exceeded your current quota, please check your plan and billing details."
    return error(429, "RESOURCE_EXHAUSTED", message, [quota_failure(quota_id), retry_info(delay)])


def wrong_key() -> dict[str, Any]:
    return error(
        400, "INVALID_ARGUMENT", "API key not valid. Please pass a valid API key.", [error_info("API_KEY_INVALID")]
    )


def no_model(name: str) -> dict[str, Any]:
    said = f"models/{name} is not found for API version v1beta, or is not supported for generateContent."
    return error(404, "NOT_FOUND", said)


def model(name: str, methods: Sequence[str]) -> dict[str, Any]:
    return {
        "name": f"models/{name}",
        "version": "001",
        "displayName": "Nano Banana",
        "description": "Makes and edits images.",
        "inputTokenLimit": 65_536,
        "outputTokenLimit": 32_768,
        "supportedGenerationMethods": list(methods),
    }
