"""Objects on a disk are stored completely or not at all, and no key leads out of the directory."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from generation_worker.domain.errors import InputRejected, StorageUnavailable
from generation_worker.storage.disk import DiskStorage

KEY = "jobs/42/image.webp"
HOSTILE = [
    "../secret",
    "jobs/../../secret",
    "/etc/passwd",
    "",
    ".",
    "..",
    "jobs//x",
    "jobs/",
    "jobs/./x",
    "..\\secret",
    "jobs/\0x",
    "jobs/\nx",
    "out/secret",
    "jobs/.half-written-0",
    "a" * 256,
    "ü" * 128,
    "\udcff",
]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "secret").write_bytes(b"secret")
    root = tmp_path / "storage"
    root.mkdir()
    (root / "out").symlink_to(tmp_path)
    return root


@pytest.fixture
def disk(root: Path) -> DiskStorage:
    return DiskStorage(root)


def test_what_was_put_is_there_until_it_is_deleted(disk: DiskStorage) -> None:
    assert disk.get(KEY) is None
    disk.put(KEY, b"one", "image/webp")
    disk.put(KEY, b"two", "image/webp")
    assert disk.get(KEY) == b"two"
    disk.delete(KEY)
    disk.delete(KEY)
    disk.delete("never/was/there")
    assert disk.get(KEY) is None


def test_a_directory_is_not_an_object_and_an_object_is_not_a_directory(disk: DiskStorage) -> None:
    disk.put(KEY, b"one", "image/webp")
    assert disk.get("jobs/42") is None
    assert disk.get(KEY + "/below") is None
    disk.delete("jobs/42")
    disk.delete(KEY + "/below")
    assert disk.get(KEY) == b"one"


@pytest.mark.parametrize("key", HOSTILE)
def test_a_hostile_key_reads_nothing_and_is_not_written(disk: DiskStorage, root: Path, key: str) -> None:
    (root / "jobs").mkdir()
    (root / "jobs" / ".half-written-0").write_bytes(b"secret")
    assert disk.get(key) is None
    with pytest.raises(ValueError, match="storage"):
        disk.put(key, b"x", "image/png")
    with pytest.raises(ValueError, match="storage"):
        disk.delete(key)
    assert (root.parent / "secret").read_bytes() == b"secret"


def test_the_root_itself_may_be_a_link(root: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(root)
    disk = DiskStorage(tmp_path / "link")
    disk.put(KEY, b"one", "image/webp")
    assert (root / KEY).read_bytes() == b"one"


CRASH = """
import os, sys
from pathlib import Path
from generation_worker.storage.disk import DiskStorage
step, root = sys.argv[1], Path(sys.argv[2])
setattr(os, step, lambda *_, **__: os.kill(os.getpid(), 9))
DiskStorage(root).put("jobs/42/image.webp", b"two" * 100_000, "image/webp")
"""


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_crash_in_mid_write_leaves_the_old_object(disk: DiskStorage, root: Path, step: str) -> None:
    disk.put(KEY, b"one", "image/webp")
    crashed = subprocess.run([sys.executable, "-c", CRASH, step, root], check=False)
    assert crashed.returncode == -signal.SIGKILL
    assert disk.get(KEY) == b"one"
    [left] = [name for name in os.listdir(root / "jobs/42") if name != "image.webp"]
    assert disk.get(f"jobs/42/{left}") is None
    disk.put(KEY, b"two", "image/webp")
    assert disk.get(KEY) == b"two"


def test_data_and_every_new_name_reach_the_disk_in_this_order(
    disk: DiskStorage, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[str] = []
    fsync, replace = os.fsync, os.replace

    def note_sync(handle: int) -> None:
        path = Path(os.readlink(f"/proc/self/fd/{handle}"))
        steps.append("data" if path.is_file() else str(path.relative_to(root)))
        fsync(handle)

    def note_replace(old: Path, new: Path) -> None:
        steps.append("rename")
        replace(old, new)

    monkeypatch.setattr(os, "fsync", note_sync)
    monkeypatch.setattr(os, "replace", note_replace)
    disk.put(KEY, b"one", "image/webp")
    assert steps == [".", "jobs", "data", "rename", "jobs/42"]


def test_a_failed_write_leaves_nothing_and_says_why(
    disk: DiskStorage, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_handle: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    (root / "jobs/42").mkdir(parents=True)
    with pytest.raises(StorageUnavailable, match=r"disk: cannot write jobs/42/image\.webp: No space left") as failure:
        disk.put(KEY, b"one", "image/webp")
    assert failure.value.retry
    assert not os.listdir(root / "jobs/42")


def test_other_errors_are_not_taken_for_absence(disk: DiskStorage, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_path: Path, _mode: str) -> bytes:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(Path, "open", broken)
    with pytest.raises(StorageUnavailable, match=r"cannot read jobs/42/image\.webp: Input/output error"):
        disk.get(KEY)


def test_readers_never_see_half_an_object(disk: DiskStorage) -> None:
    versions = [bytes([n]) * 300_000 for n in range(8)]
    disk.put(KEY, versions[0], "image/webp")
    with ThreadPoolExecutor(4) as threads:
        writes = [threads.submit(disk.put, KEY, version, "image/webp") for version in versions]
        while not all(write.done() for write in writes):
            assert disk.get(KEY) in versions
        for write in writes:
            write.result()


def test_warm_up_makes_the_directory_and_leaves_nothing_in_it(tmp_path: Path) -> None:
    disk = DiskStorage(tmp_path / "a/b")
    disk.warm_up()
    disk.warm_up()
    assert not os.listdir(tmp_path / "a/b")


def test_warm_up_tells_when_the_directory_cannot_be_used(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StorageUnavailable, match="cannot use the storage directory"):
        DiskStorage(tmp_path / "file" / "below").warm_up()
    with pytest.raises(StorageUnavailable, match="cannot use the storage directory"):
        DiskStorage(tmp_path / "file").warm_up()


def test_keys_come_in_order_and_in_pages(disk: DiskStorage, root: Path) -> None:
    names = [f"list/{name}" for name in ("B", "a", "a.b", "a-/b", "b/c", "ä", "z z")]
    for name in [*names, "lister/x", "listed"]:
        disk.put(name, b"", "text/plain")
    (root / "list" / ".half-written-0").touch()
    found = disk.keys("list/", start_after="", limit=100)
    assert [stored.key for stored in found] == sorted(names)
    assert all(timedelta(0) <= datetime.now(UTC) - stored.modified_at < timedelta(minutes=1) for stored in found)
    assert [stored.key for stored in disk.keys("list/", start_after="list/a", limit=3)] == sorted(names)[2:5]
    assert [stored.key for stored in disk.keys("list", start_after="list/ä", limit=9)] == ["listed", "lister/x"]
    assert disk.keys("list/", start_after="list/ä", limit=3) == []
    assert disk.keys("nothing/", start_after="", limit=3) == []


def test_what_cannot_be_listed_does_not_look_empty(disk: DiskStorage, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_path: str) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "scandir", broken)
    with pytest.raises(StorageUnavailable, match="disk: cannot list images/: Input/output error"):
        disk.keys("images/", start_after="", limit=3)


def test_an_object_that_no_image_can_be_is_not_read(root: Path) -> None:
    disk = DiskStorage(root, most_bytes=10)
    disk.put("size", b"0123456789", "image/png")
    assert disk.get("size") == b"0123456789"
    disk.put("size", b"0123456789+", "image/png")
    with pytest.raises(InputRejected, match="'size' is larger than"):
        disk.get("size")


def test_a_file_has_no_link(disk: DiskStorage) -> None:
    disk.put(KEY, b"one", "image/webp")
    assert disk.link(KEY, seconds=60) is None
