"""The SDK takes a second to import: it is imported only when it is used, and before the first job."""

from __future__ import annotations

import subprocess
import sys


def run(code: str) -> None:
    subprocess.run([sys.executable, "-W", "error", "-c", f"import sys\n{code}"], check=True, timeout=120)


def test_the_module_alone_loads_nothing_heavy() -> None:
    run(
        "from generation_worker.providers.gemini import GeminiProvider\n"
        "GeminiProvider(key='k', model='m', base_url=None, api_version='v1beta', timeout=1.0, threads=1)\n"
        "sys.exit('google.genai' in sys.modules or 'httpx2' in sys.modules)"
    )


def test_warm_up_loads_it_and_asks_nobody() -> None:
    run(
        "import socket\n"
        "socket.socket.connect = lambda *_: sys.exit('connected')\n"
        "from generation_worker.providers.gemini import GeminiProvider\n"
        "p = GeminiProvider(key='k', model='m', base_url=None, api_version='v1beta', timeout=1.0, threads=1)\n"
        "p.warm_up()\n"
        "sys.exit('google.genai' not in sys.modules)"
    )
