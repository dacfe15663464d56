"""The settings of the providers. docs/providers.md shows how to add one."""

from __future__ import annotations

from typing import Annotated

from generation_worker.config.kinds import (
    ApiVersion,
    Duration,
    Keys,
    ModelName,
    PublicAddress,
    ReplicateModel,
    Secret,
    WebAddress,
    WebhookSecrets,
)
from generation_worker.config.setting import between, derived, group
from generation_worker.config.worker_settings import WorkerSettings

gemini = group("Gemini")
replicate = group("Replicate")
local = group("Local provider")


class ProviderSettings(WorkerSettings):
    """What the providers need to know. After the worker's, because a provider's rate follows the worker's."""

    gemini_api_keys: Annotated[
        Keys,
        gemini(
            "GEMINI_API_KEY",
            secret=True,
            help="Key of Google AI Studio, needed for `gemini`. Several, comma separated, add up.",
        ),
    ] = ()
    gemini_rpm: Annotated[
        int,
        between(1, 30_000),
        gemini(
            "GEMINI_RPM",
            default="`MAX_JOBS_PER_MINUTE`",
            example="60",
            help="Calls per minute and key.",
            followed="calls_per_minute.gemini",
        ),
    ] = derived("max_jobs_per_minute")
    gemini_model: Annotated[
        ModelName, gemini("GEMINI_MODEL", "GEMINI_MODEL_NAME", help="Model that makes the images.")
    ] = "gemini-nano-banana-2.1"
    gemini_base_url: Annotated[
        WebAddress | None,
        gemini(
            "GEMINI_BASE_URL",
            default="Google's",
            example="https://generativelanguage.googleapis.com",
            help="Address of the API.",
        ),
    ] = None
    gemini_timeout: Annotated[
        Duration, between(1, 3600), gemini("GEMINI_TIMEOUT", help="Longest wait for an answer.")
    ] = 180.0
    gemini_api_version: Annotated[ApiVersion, gemini("GEMINI_API_VERSION", help="Version of the API.")] = "v1beta"

    replicate_api_token: Annotated[
        Secret | None, replicate("REPLICATE_API_TOKEN", secret=True, help="Token, needed for `replicate`.")
    ] = None
    replicate_rpm: Annotated[
        int,
        between(1, 30_000),
        replicate(
            "REPLICATE_RPM",
            default="`MAX_JOBS_PER_MINUTE`",
            example="60",
            help="Predictions per minute.",
            followed="calls_per_minute.replicate",
        ),
    ] = derived("max_jobs_per_minute")
    replicate_model: Annotated[
        ReplicateModel, replicate("REPLICATE_MODEL", help="Model that makes the images, as owner/name.")
    ] = "google/nano-banana"
    replicate_base_url: Annotated[
        WebAddress | None,
        replicate(
            "REPLICATE_BASE_URL",
            default="Replicate's",
            example="https://api.replicate.com",
            help="Address of the API.",
        ),
    ] = None
    replicate_timeout: Annotated[
        Duration,
        between(1, 600),
        replicate("REPLICATE_TIMEOUT", help="Longest wait for one HTTP call; a prediction may take the job's timeout."),
    ] = 12.0
    replicate_webhook_secrets: Annotated[
        WebhookSecrets,
        replicate(
            "REPLICATE_WEBHOOK_SECRET",
            secret=True,
            help="Signing secret of the account's webhooks, which end the wait for a prediction sooner. While it is "
            "exchanged: the new one and the old one, comma separated.",
        ),
    ] = ()
    replicate_webhook_url: Annotated[
        PublicAddress | None,
        replicate(
            "REPLICATE_WEBHOOK_URL",
            example="https://worker.example.com",
            help="Where Replicate reaches the HTTP server of this worker, or of another one on the same database.",
        ),
    ] = None
    replicate_poll_interval: Annotated[
        Duration,
        between(0.1, 60),
        replicate(
            "REPLICATE_POLL_INTERVAL",
            default="5s, or 20s with `REPLICATE_WEBHOOK_URL`",
            example="5s",
            help="Longest pause between two looks at a prediction.",
        ),
    ] = derived("replicate_webhook_url", lambda url: 20.0 if url else 5.0)

    local_provider: Annotated[
        bool, local("LOCAL_PROVIDER", help="Offer `local`, which draws the prompt as a picture, without any key.")
    ] = True
    local_delay: Annotated[
        Duration, between(0, 3600), local("LOCAL_DELAY", help="How long `local` takes for a picture.")
    ] = 0.0
    local_faults: Annotated[str, local("LOCAL_FAULTS", help="Faults that `local` plays, to try out what follows.")] = ""
