"""Asks whoever listens on a port whether it is a worker of ours."""

from __future__ import annotations

from typing import Any

SECONDS = 3.0


def who_serves(host: str, port: int) -> str | None:
    """The worker that serves ``port`` of this machine, or None if it is somebody else."""
    import httpx2  # noqa: PLC0415 - a fifth of a second

    name = host if host not in ("", "0.0.0.0", "::") else "127.0.0.1"  # noqa: S104 - compared, not opened
    address = f"http://[{name}]:{port}/health" if ":" in name else f"http://{name}:{port}/health"
    try:
        answer: Any = httpx2.get(address, timeout=SECONDS, trust_env=False).json()
        return f"worker {answer['id']} ({answer['version']}, {answer['worker']})"
    except (httpx2.HTTPError, ValueError, TypeError, KeyError):
        return None
