"""The providers that a worker can call, one registration for each. docs/providers.md shows how to add one."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pydantic import SecretStr

from generation_worker.config import ConfigurationError, Settings
from generation_worker.domain.fleet import HIGHEST_CONCURRENCY
from generation_worker.domain.webhook import webhook_address
from generation_worker.ports import LimitedKey, Provider
from generation_worker.providers import gemini, local, replicate

NO_KEY = SecretStr("")
"""The key of a provider that needs none."""


@dataclass(frozen=True, slots=True)
class Registration:
    """A provider: its keys in the settings, how its adapters are built, and its limit."""

    name: str
    keys: Callable[[Settings], Sequence[SecretStr]]
    """Its keys in the settings. An adapter is built for each; without a key the provider is not offered."""
    build: Callable[[Settings, str], Provider]
    """Builds an adapter with one key, without cost. A ValueError describes the problem with ``setting``."""
    setting: str
    """The variable that an operator has to correct if ``build`` raises ValueError."""
    calls_per_minute: Callable[[Settings], int] | None = None
    """The limit of one key, for the whole fleet; without it the provider has no limit and no breaker."""
    webhook: Callable[[Settings], replicate.ReplicateWebhook | None] = lambda _: None
    """Verifies and reads its webhooks, if the settings enable them."""


REGISTRATIONS: tuple[Registration, ...] = (
    Registration(
        name="gemini",
        setting="GEMINI_API_KEY",
        keys=lambda settings: settings.gemini_api_keys,
        build=lambda settings, key: gemini.GeminiProvider(
            key=key,
            model=settings.gemini_model,
            base_url=settings.gemini_base_url,
            api_version=settings.gemini_api_version,
            timeout=settings.gemini_timeout,
            threads=HIGHEST_CONCURRENCY,
        ),
        calls_per_minute=lambda settings: settings.gemini_rpm,
    ),
    Registration(
        name="replicate",
        setting="REPLICATE_API_TOKEN",
        keys=lambda settings: [settings.replicate_api_token] if settings.replicate_api_token else [],
        build=lambda settings, token: replicate.ReplicateProvider(
            token=token,
            model=settings.replicate_model,
            base_url=settings.replicate_base_url,
            timeout=settings.replicate_timeout,
            threads=HIGHEST_CONCURRENCY,
            longest_pause=settings.replicate_poll_interval,
            webhook=settings.replicate_webhook_url and webhook_address(settings.replicate_webhook_url, "replicate"),
        ),
        calls_per_minute=lambda settings: settings.replicate_rpm,
        webhook=lambda settings: (
            replicate.ReplicateWebhook([secret.get_secret_value() for secret in settings.replicate_webhook_secrets])
            if settings.replicate_webhook_secrets
            else None
        ),
    ),
    Registration(
        name="local",
        setting="LOCAL_FAULTS",
        keys=lambda settings: [NO_KEY] if settings.local_provider else [],
        build=lambda settings, _: local.LocalProvider(
            delay=settings.local_delay, faults=local.InjectedFault.parse_all(settings.local_faults)
        ),
    ),
)
"""In the order of preference: the first one that is offered is the default."""


def configured_providers(settings: Settings) -> list[str]:
    """The names of the providers that have a key in ``settings``, the preferred one first."""
    return [each.name for each in REGISTRATIONS if each.keys(settings)]


def build_providers(settings: Settings) -> list[Provider]:
    """An adapter for each key in the settings, the preferred provider first. Raises ConfigurationError."""
    return [adapter for each in REGISTRATIONS for adapter in build_adapters(each, settings)]


def build_adapters(registration: Registration, settings: Settings) -> list[Provider]:
    """An adapter for each key of this provider. Raises ConfigurationError."""
    return [_built(registration, settings, key) for key in registration.keys(settings)]


def _built(registration: Registration, settings: Settings, key: SecretStr) -> Provider:
    try:
        return registration.build(settings, key.get_secret_value())
    except ValueError as error:
        raise ConfigurationError([f"{registration.setting}: {error}"]) from None


def limited_keys(settings: Settings, providers: Sequence[Provider]) -> tuple[LimitedKey, ...]:
    """The keys of ``providers`` that have a limit. The local provider has none."""
    limits = {each.name: each.calls_per_minute for each in REGISTRATIONS}
    return tuple(
        LimitedKey(each.key_label, each.name, limit(settings)) for each in providers if (limit := limits.get(each.name))
    )


def webhook_readers(settings: Settings) -> dict[str, replicate.ReplicateWebhook]:
    """The webhook readers by provider, for those whose webhooks the settings enable."""
    found = {each.name: each.webhook(settings) for each in REGISTRATIONS}
    return {name: reader for name, reader in found.items() if reader is not None}
