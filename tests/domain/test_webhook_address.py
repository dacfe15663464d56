"""Where providers are told to send their webhooks."""

from __future__ import annotations

import pytest

from generation_worker.domain.webhook import webhook_address

PATH = "/worker/providers/replicate/webhook"


@pytest.mark.parametrize(
    ("base", "address"),
    [
        ("https://worker.example.com", f"https://worker.example.com{PATH}"),
        ("https://example.com/images", f"https://example.com/images{PATH}"),
        (f"https://worker.example.com{PATH}", f"https://worker.example.com{PATH}"),
    ],
)
def test_a_base_or_the_whole_address(base: str, address: str) -> None:
    assert webhook_address(base, "replicate") == address
