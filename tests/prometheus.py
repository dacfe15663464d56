"""Has a real Prometheus scrape a worker: `python -m tests.prometheus [pytest arguments]`.

Its programs are those that are installed, or Debian's, which are kept in .cache/ and not installed.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
CACHE = ROOT / ".cache" / "prometheus"
TESTS = "tests/scraped"


def find_programs() -> Path | None:
    """The directory in which prometheus and promtool are."""
    for place in (os.environ["PATH"], str(CACHE / "usr" / "bin")):
        server, tool = shutil.which("prometheus", path=place), shutil.which("promtool", path=place)
        if server and tool:
            return Path(server).parent
    return None


def fetch_programs() -> None:
    if shutil.which("apt-get") is None or shutil.which("dpkg-deb") is None:
        sys.exit("Prometheus can be fetched on Debian only; install it, and promtool with it, somewhere in PATH.")
    with tempfile.TemporaryDirectory(prefix="generation-worker-") as name:
        subprocess.run(["apt-get", "download", "-qq", "prometheus"], check=True, cwd=name)
        (package,) = Path(name).glob("prometheus_*.deb")
        CACHE.mkdir(parents=True, exist_ok=True)
        subprocess.run(["dpkg-deb", "-x", str(package), str(CACHE)], check=True)


def main(*arguments: str) -> int:
    if find_programs() is None:
        fetch_programs()
    command = [sys.executable, "-m", "pytest", *(arguments or ["-q", TESTS])]
    environment = {**os.environ, "TEST_PROMETHEUS": str(find_programs())}
    return subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
