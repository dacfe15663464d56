"""The adapters that a worker holds, one for each key of a provider."""

from __future__ import annotations

from collections.abc import Sequence

from generation_worker.ports import Provider


class KeyRing:
    """Finds an adapter by provider and key. Providers stand in the order of the worker's preference."""

    def __init__(self, adapters: Sequence[Provider]) -> None:
        self._of: dict[str, dict[str, Provider]] = {}
        for adapter in adapters:
            self._of.setdefault(adapter.name, {})[adapter.key_label] = adapter

    @property
    def providers(self) -> tuple[str, ...]:
        return tuple(self._of)

    def find(self, provider: str, key_label: str | None) -> Provider | None:
        """The adapter with this key; without a key to ask for, or if it is not held, the provider's first."""
        held = self._of.get(provider, {})
        return held.get(key_label or "") or next(iter(held.values()), None)

    def has(self, provider: str, key_label: str) -> bool:
        return key_label in self._of.get(provider, {})
