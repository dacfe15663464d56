"""Paths that others are told, so that telling them needs no web framework."""

from __future__ import annotations


def webhook_path(provider: str) -> str:
    """Where the provider of this name sends its webhooks."""
    return f"/worker/providers/{provider}/webhook"


def webhook_address(base: str, provider: str) -> str:
    """The whole address, for a web server that the world knows as ``base``, or that is given whole already."""
    path = webhook_path(provider)
    return base if base.endswith(path) else base + path
