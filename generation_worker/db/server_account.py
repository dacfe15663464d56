"""Who the embedded server runs as. PostgreSQL refuses to run as root, which is who one is in most containers."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

ACCOUNTS = ("postgres", "nobody")
"""The first of them that exists runs the server when we are root. We make none."""

# Lets the server walk through directories that are closed to its account, such as /root above a checkout. It is lent to
# these processes only: opening the directories themselves would outlast us.
# PostgreSQL asks access(2) about its programs, which forgets the capability unless the last bit is set.
REACH = ("--inh-caps=+dac_override", "--ambient-caps=+dac_override", "--securebits=+no_setuid_fixup")


@dataclass(frozen=True, slots=True)
class ServerAccount:
    """Runs the programs of the server. `name` is None where we are not root: they run as ourselves."""

    name: str | None
    prefix: tuple[str, ...] = ()

    @classmethod
    def choose(cls, directory: Path, binaries: Path) -> ServerAccount:
        """The account for a server whose files lie in `directory`, which is ours, and in `binaries`."""
        if os.geteuid() != 0:
            return cls(None)
        known = {entry.pw_name for entry in pwd.getpwall()}
        account = cls(next(name for name in ACCOUNTS if name in known))
        directory.chmod(0o711)  # to be walked through, not to be listed
        reached = all(account.run(["test", "-x", str(path)]).returncode == 0 for path in (directory, binaries))
        if reached or not shutil.which("setpriv"):
            return account
        return cls(
            account.name, ("setpriv", f"--reuid={account.name}", f"--regid={account._group}", "--clear-groups", *REACH)
        )

    @property
    def _group(self) -> int | None:
        return pwd.getpwnam(self.name).pw_gid if self.name else None

    def run(self, command: Sequence[str], cwd: Path = Path("/")) -> subprocess.CompletedProcess[str]:
        """Run `command` to its end; what it says on either stream is in stdout."""
        return subprocess.run(  # noqa: S603 - our own commands
            [*self.prefix, *command],
            user=None if self.prefix else self.name,
            group=None if self.prefix else self._group,
            extra_groups=self._no_groups,
            cwd=cwd,
            env=_environment(),
            check=False,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def spawn(self, command: Sequence[str], log: IO[bytes], cwd: Path) -> subprocess.Popen[bytes]:
        """Start `command` with a pipe as its input, out of reach of the terminal's Ctrl-C."""
        return subprocess.Popen(  # noqa: S603 - our own commands
            [*self.prefix, *command],
            user=None if self.prefix else self.name,
            group=None if self.prefix else self._group,
            extra_groups=self._no_groups,
            cwd=cwd,
            env=_environment(),
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def own(self, path: Path) -> None:
        """Give `path` to the account."""
        if self.name:
            shutil.chown(path, self.name, self._group)

    @contextmanager
    def secret_file(self, directory: Path, text: str) -> Generator[Path]:
        """A file that only the account can read, until the block ends."""
        with tempfile.NamedTemporaryFile("w", dir=directory) as file:
            file.write(text)
            file.flush()
            self.own(Path(file.name))
            yield Path(file.name)

    @property
    def _no_groups(self) -> list[int] | None:
        """Root's groups are not for the server; somebody else may not change theirs."""
        return [] if self.name and not self.prefix else None


def _environment() -> dict[str, str]:
    """Ours without PGDATA, PGPORT and the like, which would speak to the server, and with messages that can be read."""
    return {name: value for name, value in os.environ.items() if not name.startswith("PG")} | {"LC_ALL": "C"}
