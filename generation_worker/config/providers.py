"""Which providers the settings offer."""

from __future__ import annotations

from generation_worker.config.settings import Settings

ADAPTERS = ("gemini", "replicate", "local")
"""The providers that this version can call."""


def configured_providers(settings: Settings) -> list[str]:
    """The names of the providers that ``settings`` have all they need for, the preferred one first."""
    ready = {
        "gemini": bool(settings.gemini_api_keys),
        "replicate": settings.replicate_api_token is not None,
        "local": settings.local_provider,
    }
    return [name for name, is_ready in ready.items() if is_ready and name in ADAPTERS]
