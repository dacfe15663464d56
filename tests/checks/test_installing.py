"""A lock installs the same packages whatever is released later, with the oldest and the newest pip that is promised.

The package index is a directory. It offers a newer release of a package that another one names with an extra: pip 22 to
25 resolve that requirement anew, although the lock has it.
"""

from __future__ import annotations

import base64
import fcntl
import hashlib
import os
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

from scripts import prepare
from scripts.image import stages

PIPS = {
    # Python 3.12 took away what older ones import.
    "22.0.4" if sys.version_info < (3, 12) else "23.2.1": "oldest",
    "26.3": "newest",
}
HASHES = {
    "22.0.4": "c6aca0f2f081363f689f041d90dab2a07a9a07fb840284db2218117a52da800b",
    "23.2.1": "7ccf472345f20d35bdc9d1841ff5f313260c2c33fe417f48c30ac46cccabf5be",
    "26.3": "f3b60b20ffaadd4415ed7957212a38ac63fa4c5fa375bd0f4a797777940fad13",
}
CACHE = prepare.ROOT / ".cache" / "pips"

EXTRA = "helper[fast]>=1"


@pytest.fixture(params=PIPS, ids=list(PIPS.values()))
def environment(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A virtual environment with just that pip."""
    place = tmp_path / "venv"
    venv.create(place, with_pip=False, symlinks=True)
    [packages] = place.glob("lib/python*/site-packages")
    with zipfile.ZipFile(pip_wheel(request.param)) as wheel:
        wheel.extractall(packages)
    return place


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package index on disk: `app` requires `helper[fast]`, of which there are two releases."""
    place = tmp_path / "index"
    wheel(place, "app", "1.0", requires=[EXTRA])
    for version in ("1.0", "2.0"):
        wheel(place, "helper", version, requires=['fast>=1; extra == "fast"'], extras=["fast"])
    wheel(place, "fast", "1.0")
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    settings = tmp_path / "pip.conf"
    option = "-".join(("index", "url"))  # in one piece it would look like the address of a package index
    settings.write_text(f"[global]\n{option} = {place.as_uri()}\nno-cache-dir = true\n")
    monkeypatch.setenv("PIP_CONFIG_FILE", str(settings))
    return place


def test_a_newer_release_changes_nothing(environment: Path, index: Path, tmp_path: Path) -> None:
    prepare.install_locks(environment, [lock(tmp_path, index, "app", "helper", "fast")])
    assert installed(environment) == {"app-1.0", "helper-1.0", "fast-1.0"}


def test_a_lock_that_lacks_a_package_is_refused(environment: Path, index: Path, tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r"pip .*check"):
        prepare.install_locks(environment, [lock(tmp_path, index, "app", "fast")])


def test_an_altered_file_is_refused(environment: Path, index: Path, tmp_path: Path) -> None:
    file = lock(tmp_path, index, "app", "helper", "fast")
    [altered] = index.glob("fast/fast-1.0*.whl")
    altered.write_bytes(altered.read_bytes() + b"more")
    with pytest.raises(SystemExit, match="install"):
        prepare.install_locks(environment, [file])
    assert installed(environment) == set()


def test_without_no_deps_the_oldest_pip_fails(index: Path, tmp_path: Path) -> None:
    """Otherwise the tests above would show nothing."""
    oldest = pip_wheel(next(iter(PIPS)))
    options = [
        "--target",
        str(tmp_path / "target"),
        "--require-hashes",
        "-r",
        str(lock(tmp_path, index, "app", "helper", "fast")),
    ]
    done = subprocess.run(
        [sys.executable, f"{oldest}/pip", "install", *options], capture_output=True, text=True, check=False
    )
    assert "must have their versions pinned" in done.stderr


def test_the_container_checks_that_its_lock_is_complete() -> None:
    commands = [part.strip() for run in stages()[0].all("RUN") for part in run.split("&&")]
    installs = [number for number, command in enumerate(commands) if "locks/image.txt" in command]
    assert len(installs) == 1
    assert commands.index("pip --python /opt/generation-worker/bin/python check") > installs[0]


def pip_wheel(version: str) -> Path:
    CACHE.mkdir(parents=True, exist_ok=True)
    file = CACHE / f"pip-{version}-py3-none-any.whl"
    with (CACHE / "lock").open("w") as guard:
        fcntl.flock(guard, fcntl.LOCK_EX)  # tests that run side by side
        if not file.exists():
            wanted = CACHE / f"{version}.txt"
            wanted.write_text(f"pip=={version} --hash=sha256:{HASHES[version]}\n")
            options = ["--no-deps", "--require-hashes", "-r", str(wanted), "-d", str(CACHE)]
            subprocess.run([sys.executable, "-m", "pip", "-q", "download", *options], check=True)
    return file


def wheel(
    index: Path, name: str, version: str, requires: list[str] | None = None, extras: list[str] | None = None
) -> None:
    """Put a package without contents into the index."""
    folder = index / name
    folder.mkdir(parents=True, exist_ok=True)
    info = f"{name}-{version}.dist-info"
    metadata = [f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"]
    metadata += [f"Provides-Extra: {extra}\n" for extra in extras or []]
    metadata += [f"Requires-Dist: {requirement}\n" for requirement in requires or []]
    files = {
        f"{name}.py": "",
        f"{info}/METADATA": "".join(metadata),
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(f"{path},sha256={digest(text)},{len(text)}\n" for path, text in files.items())
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as archive:
        for path, text in {**files, f"{info}/RECORD": f"{record}{info}/RECORD,,\n"}.items():
            archive.writestr(path, text)
    links = [f'<a href="{file.name}">{file.name}</a>' for file in sorted(folder.glob("*.whl"))]
    (folder / "index.html").write_text(f"<!DOCTYPE html><html><body>{''.join(links)}</body></html>")


def digest(text: str) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).decode().rstrip("=")


def lock(place: Path, index: Path, *names: str) -> Path:
    """A lock of the first releases of these packages."""
    file = place / "lock.txt"
    lines: list[str] = []
    for name in names:
        contents = (index / name / f"{name}-1.0-py3-none-any.whl").read_bytes()
        lines.append(f"{name}==1.0 --hash=sha256:{hashlib.sha256(contents).hexdigest()}\n")
    file.write_text("".join(lines))
    return file


def installed(environment: Path) -> set[str]:
    found = {folder.stem for folder in environment.glob("lib/python*/site-packages/*.dist-info")}
    return {name for name in found if not name.startswith("pip-")}
