"""Makes the virtual environment and keeps it as locks/ says: `prepare.py run .venv` for the demo, `dev` for all.

Needs Python and pip. What is as it should be is left alone, so the second time takes a moment.
"""

from __future__ import annotations

import fcntl
import hashlib
import importlib.util
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LOCKS = {"run": ("build", "run"), "dev": ("dev",)}
"""What to install, by name. dev holds all that run does, and more."""


def main(purpose: str, venv: Path) -> None:
    with (ROOT / "scripts" / "prepare.py").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # `make demo` and `make test` may be started together
        if up_to_date(purpose, venv):
            return
        print(f"Setting up {venv.name} for the first time, or anew: a minute or two …", file=sys.stderr, flush=True)
        make(venv)
        install(purpose, venv)
        stamp(purpose, venv).write_text(fingerprint(purpose, venv))


def up_to_date(purpose: str, venv: Path) -> bool:
    """Whether this purpose, or dev, which serves every purpose, has been installed from the locks as they are now."""
    return (venv / "bin" / "python").exists() and any(
        stamp(done, venv).is_file() and stamp(done, venv).read_text() == fingerprint(done, venv)
        for done in (purpose, "dev")
    )


def make(venv: Path) -> None:
    """A virtual environment, unless there is one that works and holds nothing that the locks no longer name.

    One that was moved names the wrong Python everywhere. One that was installed from other locks may keep packages
    that conflict with those of now.
    """
    place = venv / ".place"
    works = (venv / "bin" / "python").exists() and (not place.exists() or place.read_text() == str(venv))
    outdated = any(stamp(done, venv).is_file() and not up_to_date(done, venv) for done in LOCKS)
    if works and not outdated:
        return
    # Debian keeps ensurepip in a package of its own; then the pip beside this Python does the work.
    options = [] if importlib.util.find_spec("ensurepip") else ["--without-pip"]
    run(sys.executable, "-m", "venv", "--clear", *options, str(venv))
    place.write_text(str(venv))


def install(purpose: str, venv: Path) -> None:
    install_locks(venv, [ROOT / "locks" / f"{name}.txt" for name in LOCKS[purpose]])
    pip(venv, "install", "--no-deps", "--no-build-isolation", "-e", str(ROOT))
    if purpose == "dev" and (ROOT / "tests").exists():
        # Not worth giving up for: the few tests that need it say so where it is not.
        subprocess.run([venv / "bin" / "python", "-m", "scripts.node_packages"], check=False, cwd=ROOT)


def install_locks(venv: Path, locks: list[Path]) -> None:
    """Install what the lock files name and nothing else, and check that nothing is missing.

    A lock is complete, so pip has nothing to resolve. Without --no-deps, pip 22 to 25 resolve a requirement with an
    extra (google-auth[requests]) anew, and fail as soon as a release is out that is newer than the lock's.
    """
    files = [argument for lock in locks for argument in ("-r", str(lock))]
    pip(venv, "install", "--no-deps", "--require-hashes", *files)
    pip(venv, "check")


def pip(venv: Path, command: str, *arguments: str) -> None:
    python = venv / "bin" / "python"
    inside = subprocess.run([python, "-c", "import pip"], check=False, capture_output=True).returncode == 0
    program = [str(python), "-m", "pip"] if inside else [sys.executable, "-m", "pip", "--python", str(python)]
    run(*program, "--disable-pip-version-check", "--no-input", "-qq", command, *arguments)


def run(*command: str) -> None:
    status = subprocess.run(command, check=False, stdin=subprocess.DEVNULL).returncode
    if status != 0:
        sys.exit(f"Failed with status {status}: {' '.join(command)}")


def stamp(purpose: str, venv: Path) -> Path:
    return venv / f".{purpose}-is-installed"


def fingerprint(purpose: str, venv: Path) -> str:
    files = [ROOT / "pyproject.toml", *(ROOT / "locks" / f"{name}.txt" for name in LOCKS[purpose])]
    if purpose == "dev":
        files += sorted(ROOT.glob("tests/**/package-lock.json"))  # none in an archive of the sources
    return hashlib.sha256(b"\0".join([str(venv).encode(), *(file.read_bytes() for file in files)])).hexdigest()


if __name__ == "__main__":
    main(sys.argv[1], ROOT / sys.argv[2])
