"""Runs tests through PgBouncer in transaction mode: `python -m tests.pgbouncer [pytest arguments]`.

It keeps no prepared statements, as most installations do. Without arguments the tests of the database run.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from generation_worker.db.embedded import LIFELINE, ServerAccount, free_port
from tests.postgres_versions import SETTINGS, run_tests
from tests.support.servers import embedded

CONFIGURATION = """
[databases]
* = host={host} port={port}

[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {own_port}
unix_socket_dir =
auth_type = scram-sha-256
auth_file = {directory}/users
pool_mode = transaction
default_pool_size = 50
max_client_conn = 1000
"""


@contextmanager
def pgbouncer(url: str) -> Generator[str]:
    """The address of a PgBouncer in front of the server at `url`; the database is named by the client."""
    program, own_port, server = _program(), free_port(), urlsplit(url)
    with tempfile.TemporaryDirectory(prefix="generation-worker-") as name:
        directory = Path(name)
        account = ServerAccount.choose(directory, program.parent)
        users, configuration = directory / "users", directory / "pgbouncer.ini"
        users.write_text(f'"{server.username}" "{server.password}"\n')
        users.chmod(0o600)
        account.own(users)
        configuration.write_text(
            CONFIGURATION.format(host=server.hostname, port=server.port, own_port=own_port, directory=directory)
        )
        command = ["sh", "-c", LIFELINE, "lifeline", str(program), str(configuration)]
        with (directory / "log").open("wb") as log:
            process = account.spawn(command, log, directory)
        try:
            _wait_for(own_port, process, directory / "log")
            yield f"postgresql://{server.username}:{server.password}@127.0.0.1:{own_port}{server.path}"
        finally:
            process.communicate()


def _wait_for(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    while process.poll() is None:
        with socket.socket() as client:
            if client.connect_ex(("127.0.0.1", port)) == 0:
                return
    sys.exit(f"PgBouncer did not start:\n{log.read_text()}")


def _program() -> Path:
    path = os.environ["PATH"] + ":/usr/sbin"
    if not shutil.which("pgbouncer", path=path):
        subprocess.run(["apt-get", "install", "-y", "--no-install-recommends", "pgbouncer"], check=True)
    found = shutil.which("pgbouncer", path=path)
    assert found is not None
    return Path(found)


def main(*arguments: str) -> int:
    with embedded(**SETTINGS) as url, pgbouncer(url) as pooled:
        return run_tests(arguments, {"TEST_DATABASE_URL": f"{pooled}?pgbouncer=true", "TEST_DIRECT_URL": url})


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
