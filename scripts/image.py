"""Builds and tries the image without Docker: `python scripts/image.py`.

The Dockerfile's build stage runs in a temporary directory, with a clean virtual environment as the image's Python. Its
result must print its help, migrate a database, empty its queue and serve its dashboard.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
import venv
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
HOME = "/opt/generation-worker"
"""The worker's directory in the image."""


@dataclass(frozen=True)
class Stage:
    """One FROM and its instructions, in their order."""

    base: str
    instructions: list[tuple[str, str]]

    def all(self, name: str) -> list[str]:
        return [rest for instruction, rest in self.instructions if instruction == name]

    def only(self, name: str) -> str:
        [rest] = self.all(name)
        return rest


def stages() -> list[Stage]:
    """The stages of the Dockerfile."""
    text = re.sub(r"(?m)^\s*#.*\n", "", (ROOT / "Dockerfile").read_text())
    lines = re.sub(r"\\\n\s*", "", text).splitlines()
    instructions = [(line.split()[0], line.partition(" ")[2].strip()) for line in lines if line.strip()]
    starts = [n for n, (name, _) in enumerate(instructions) if name == "FROM"]
    return [
        Stage(instructions[start][1].split()[0], instructions[start + 1 : end])
        for start, end in zip(starts, [*starts[1:], len(instructions)], strict=True)
    ]


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="image-") as directory:
        place = Path(directory)
        build(stages()[0], place)
        try_out(stages()[-1], place)


def build(stage: Stage, place: Path) -> None:
    """Run the build stage below the directory `place`."""
    venv.create(place / "python", with_pip=True)
    environment = {**os.environ, "PATH": f"{place}/python/bin:{os.environ['PATH']}"}
    here = place
    for name, rest in stage.instructions:
        if name == "WORKDIR":
            here = place / rest.lstrip("/")
            here.mkdir(parents=True)
        elif name == "ENV":
            environment |= dict(pair.split("=") for pair in rest.split())
        elif name == "COPY":
            copy(*rest.split(), here=here)
        elif name == "RUN":
            print(f"RUN {rest}", flush=True)
            command = rest.replace(HOME, f"{place}{HOME}")
            subprocess.run(["sh", "-ec", command], check=True, cwd=here, env=environment)
        else:
            raise ValueError(f"the Dockerfile instruction {name} is not supported: add it to scripts/image.py")


def copy(*names: str, here: Path) -> None:
    *sources, target = names
    for source in sources:
        if (ROOT / source).is_dir():
            shutil.copytree(ROOT / source, here / target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            (here / target).mkdir(exist_ok=True)
            shutil.copy(ROOT / source, here / target)


def try_out(stage: Stage, place: Path) -> None:
    """Run the image's program: its help, a migration, a worker that ends when the queue is empty, the dashboard."""
    from generation_worker.db.embedded import EmbeddedPostgres  # noqa: PLC0415 - the checkout's, not the image's

    [entrypoint] = json.loads(stage.only("ENTRYPOINT"))
    program = f"{place}{HOME}/bin/{entrypoint}"
    data = place / "data"
    data.mkdir()
    with EmbeddedPostgres(place / "postgres", durable=False) as postgres:
        environment = {"PATH": os.environ["PATH"], "HOME": str(data), "PORT": "0", "DATABASE_URL": postgres.conninfo()}
        for arguments in (["--help"], ["migrate"], ["run", "--until-empty"]):
            print(f"{entrypoint} {' '.join(arguments)}", flush=True)
            subprocess.run([program, *arguments], check=True, cwd=data, env=environment, timeout=120)
        print("the dashboard", flush=True)
        check_dashboard(program, environment, data)


def check_dashboard(program: str, environment: dict[str, str], data: Path) -> None:
    """Fetch the dashboard and its static files, which come from the package, from a running worker."""
    from generation_worker.db.embedded import free_port  # noqa: PLC0415 - the checkout's, not the image's

    port = str(free_port())
    serving = {**environment, "PORT": port, "HEALTH_HOST": "127.0.0.1"}
    worker = subprocess.Popen([program, "run"], cwd=data, env=serving)
    try:
        page = fetch(f"http://127.0.0.1:{port}/dashboard", worker).decode()
        files = re.findall(r'(?:src|href)="(/dashboard/static/[^"]+)"', page)
        if "The fleet is" not in page or len(files) < 6:
            raise ValueError(f"the page at /dashboard is not the dashboard:\n{page}")
        for name in files:
            fetch(f"http://127.0.0.1:{port}{name}", worker)
    finally:
        worker.terminate()
        worker.wait(60)


def fetch(url: str, worker: subprocess.Popen[bytes]) -> bytes:
    """Fetch `url` as soon as the worker listens. Raises OSError for an error status, or if the worker ends first."""
    for _ in range(600):
        try:
            with urllib.request.urlopen(url, timeout=30) as response:
                return response.read()
        except urllib.error.HTTPError:
            raise
        except urllib.error.URLError:
            if worker.poll() is not None:
                break
            time.sleep(0.1)
    raise OSError(f"{url} does not respond")


if __name__ == "__main__":
    sys.exit(main())
