"""The cache on disk: bounded, short-lived, least recently used first, and verified on every read."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from generation_worker.fetch.cache import DiskCache
from generation_worker.fetch.fetcher import WebFetcher
from tests.fetch.cache_user import KEYS, LIMIT
from tests.fetch.pages import CAT, image, in_turn
from tests.fetch.world import HOST, MIB, URL, Attempt, Site, World

KEY, OTHER, THIRD = KEYS[:3]
HOUR = 3600
ROOT = Path(__file__).parents[2]


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "cache"


@pytest.fixture
def cache(directory: Path) -> DiskCache:
    cache = DiskCache(directory, most_bytes=10_000)
    cache.prepare()
    return cache


def get(cache: DiskCache, key: str = KEY) -> bytes | None:
    return cache.get(key, most_bytes=10_000)


def sizes(directory: Path) -> int:
    return sum(file.stat().st_size for file in directory.iterdir())


def used(directory: Path, key: str, seconds_ago: int) -> None:
    """As if it had been fetched just now, and asked for so long ago."""
    file = directory / key
    os.utime(file, ns=(time.time_ns() - seconds_ago * 10**9, file.stat().st_mtime_ns))


# what is kept


def test_what_was_put_is_found(cache: DiskCache) -> None:
    assert get(cache) is None
    cache.put(KEY, b"a cat")
    assert get(cache) == b"a cat"
    cache.put(KEY, b"another cat")
    assert get(cache) == b"another cat"
    assert get(cache, OTHER) is None


def test_what_is_an_hour_old_is_not_found_and_goes_with_the_next(cache: DiskCache, directory: Path) -> None:
    cache.put(KEY, b"a cat")
    fetched = time.time() - HOUR
    os.utime(directory / KEY, (time.time(), fetched + 60))
    assert get(cache) == b"a cat"
    os.utime(directory / KEY, (time.time(), fetched - 1))
    assert get(cache) is None
    cache.put(OTHER, b"a dog")
    assert [file.name for file in directory.iterdir()] == [OTHER]


def test_what_is_used_does_not_live_longer(cache: DiskCache, directory: Path) -> None:
    cache.put(KEY, b"a cat")
    before = (directory / KEY).stat().st_mtime_ns
    used(directory, KEY, 1000)
    get(cache)
    found = (directory / KEY).stat()
    assert found.st_mtime_ns == before
    assert found.st_atime > time.time() - 900


def test_what_comes_from_the_future_is_not_believed(cache: DiskCache, directory: Path) -> None:
    cache.put(KEY, b"a cat")
    os.utime(directory / KEY, (time.time(), time.time() + 600))
    assert get(cache) is None


# the bound


def test_what_was_not_used_for_longest_goes_first(cache: DiskCache, directory: Path) -> None:
    for key, ago in ((KEY, 30), (OTHER, 20), (THIRD, 10)):
        cache.put(key, bytes(3000))
        used(directory, key, ago)
    get(cache, KEY)
    cache.put(KEYS[4], bytes(3000))
    assert get(cache, OTHER) is None
    assert all(get(cache, key) for key in (KEY, THIRD, KEYS[4]))


def test_there_is_never_more_than_the_bound(cache: DiskCache, directory: Path) -> None:
    for n, key in enumerate(KEYS * 3):
        cache.put(key, bytes(700 * (n % 7 + 1)))
        assert sizes(directory) <= 10_000
    assert sizes(directory) > 4_000


def test_what_is_larger_than_the_bound_is_not_kept_and_costs_nobody_else(cache: DiskCache) -> None:
    cache.put(KEY, b"a cat")
    cache.put(OTHER, bytes(10_000))
    assert get(cache, OTHER) is None
    assert get(cache) == b"a cat"


def test_what_a_crash_left_half_written_counts_and_goes(cache: DiskCache, directory: Path) -> None:
    left = directory / f"{KEY}.{'0' * 32}"
    left.write_bytes(bytes(9_000))
    cache.put(OTHER, bytes(100))
    assert left.exists()  # somebody may still be writing it
    os.utime(left, (time.time(), time.time() - HOUR))
    cache.put(OTHER, bytes(100))
    assert not left.exists()


def test_what_is_not_ours_is_left_alone(cache: DiskCache, directory: Path) -> None:
    (directory / "notes.txt").write_bytes(bytes(50_000))
    cache.put(KEY, b"a cat")
    assert get(cache) == b"a cat"
    assert (directory / "notes.txt").exists()


# what is not believed


def with_digest(data: bytes) -> bytes:
    return hashlib.sha256(data).digest() + data


SPOILT: dict[str, Callable[[Path], object]] = {
    "empty": lambda file: file.write_bytes(b""),
    "short": lambda file: file.write_bytes(b"short"),
    "cut": lambda file: file.write_bytes(file.read_bytes()[:-1]),
    "longer": lambda file: file.write_bytes(file.read_bytes() + b"!"),
    "changed": lambda file: file.write_bytes(file.read_bytes().replace(b"cat", b"dog")),
    "zeros": lambda file: file.write_bytes(bytes(20_000)),
    "huge": lambda file: os.truncate(file, 10**12),
    "too large": lambda file: file.write_bytes(with_digest(bytes(10_001))),
    "gone": lambda file: file.unlink(),
    "endless": lambda file: (file.unlink(), file.symlink_to("/dev/zero")),
}


@pytest.mark.parametrize("spoil", SPOILT.values(), ids=SPOILT)
def test_a_bad_file_is_not_found_and_is_replaced(
    cache: DiskCache, directory: Path, spoil: Callable[[Path], object]
) -> None:
    cache.put(KEY, b"a cat")
    spoil(directory / KEY)
    assert get(cache) is None
    cache.put(KEY, b"a cat")
    assert get(cache) == b"a cat"


def test_what_is_larger_than_is_asked_for_is_not_read(cache: DiskCache) -> None:
    cache.put(KEY, bytes(5000))
    assert cache.get(KEY, most_bytes=5000) == bytes(5000)
    assert cache.get(KEY, most_bytes=4999) is None


def test_a_disk_that_fails_costs_a_fetch_and_no_more(cache: DiskCache, directory: Path) -> None:
    directory.rmdir()
    cache.put(KEY, b"a cat")
    assert get(cache) is None
    directory.write_bytes(b"no directory")
    cache.put(KEY, b"a cat")
    assert get(cache) is None


# whose it is


def test_the_directory_is_for_one_user_alone(cache: DiskCache, directory: Path) -> None:
    assert directory.stat().st_mode & 0o777 == 0o700
    cache.prepare()
    assert list(directory.iterdir()) == []


@pytest.mark.parametrize("mode", [0o777, 0o770, 0o702])
def test_a_directory_in_which_others_can_write_is_refused(directory: Path, mode: int) -> None:
    directory.mkdir()
    directory.chmod(mode)
    with pytest.raises(OSError, match="others can write to it"):
        DiskCache(directory, most_bytes=1).prepare()


def test_a_directory_that_somebody_else_has_put_there_is_refused(directory: Path, tmp_path: Path) -> None:
    (tmp_path / "theirs").mkdir(mode=0o700)
    directory.symlink_to(tmp_path / "theirs")
    with pytest.raises(OSError, match="others can write to it"):
        DiskCache(directory, most_bytes=1).prepare()


def test_a_directory_of_another_user_is_refused(directory: Path) -> None:
    directory.mkdir(mode=0o700)
    if os.getuid() == 0:
        os.chown(directory, 12345, 12345)
    else:
        directory = Path("/usr")  # root's
    with pytest.raises(OSError, match="others can write to it"):
        DiskCache(directory, most_bytes=1).prepare()


def test_several_processes_share_a_directory(directory: Path) -> None:
    """None of them reads half a file or another's, and the bound holds when they are done."""
    command = [sys.executable, "-m", "tests.fetch.cache_user", str(directory), "400"]
    users = [subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE) for _ in range(4)]
    answers = [user.communicate(timeout=120) for user in users]
    assert [user.returncode for user in users] == [0] * 4, answers
    assert all(int(found) > 50 for found, _ in answers)
    DiskCache(directory, most_bytes=LIMIT).put(KEY, b"the last one")
    assert sizes(directory) <= LIMIT
    assert all("." not in file.name for file in directory.iterdir())


# a fetcher with a cache


@pytest.fixture
def fetcher(world: World, cache: DiskCache) -> WebFetcher:
    return world.fetcher(cache=cache)


def test_the_next_job_with_the_same_url_makes_no_request(site: Site, fetcher: WebFetcher, world: World) -> None:
    same = [URL, f"{URL}#top", f"HTTPS://{HOST.upper()}:443/cat.png", f"https://{HOST}./cat.png"]
    assert [fetcher.fetch(url, Attempt()) for url in same] == [CAT] * 4
    assert len(site.asked) == len(world.looked_up) == 1


def test_another_query_is_another_input(site: Site, fetcher: WebFetcher) -> None:
    for url in (URL, f"{URL}?v=2", f"{URL}?v=3", f"https://{HOST}/Cat.png"):
        site.pages["/Cat.png"] = image()
        fetcher.fetch(url, Attempt())
    assert len(site.asked) == 4


def test_another_process_finds_it_too(world: World, site: Site, fetcher: WebFetcher, directory: Path) -> None:
    fetcher.fetch(URL, Attempt())
    assert world.fetcher(cache=DiskCache(directory, most_bytes=10_000)).fetch(URL, Attempt()) == CAT
    assert len(site.asked) == 1


def test_a_picture_that_changed_is_seen_after_an_hour(site: Site, fetcher: WebFetcher, directory: Path) -> None:
    site.pages["/cat.png"] = in_turn(image(), image(b"another cat"))
    assert fetcher.fetch(URL, Attempt()) == CAT
    (file,) = directory.iterdir()
    os.utime(file, (time.time(), time.time() - HOUR))
    assert fetcher.fetch(URL, Attempt()) == b"another cat"


def test_a_file_that_was_tampered_with_is_fetched_again(site: Site, fetcher: WebFetcher, directory: Path) -> None:
    fetcher.fetch(URL, Attempt())
    (file,) = directory.iterdir()
    file.write_bytes(file.read_bytes()[:-1])
    assert fetcher.fetch(URL, Attempt()) == CAT
    assert fetcher.fetch(URL, Attempt()) == CAT
    assert len(site.asked) == 2


def test_nothing_of_a_url_is_written_down(fetcher: WebFetcher, directory: Path) -> None:
    fetcher.fetch(f"{URL}?sig=topsecret", Attempt())
    (file,) = directory.iterdir()
    assert len(file.name) == 64
    assert b"topsecret" not in file.read_bytes()


def test_what_failed_is_asked_for_again(site: Site, fetcher: WebFetcher) -> None:
    site.pages["/cat.png"] = in_turn(image(status=404), image())
    with pytest.raises(Exception, match="status 404"):
        fetcher.fetch(URL, Attempt())
    assert fetcher.fetch(URL, Attempt()) == CAT


def test_what_was_fetched_in_development_is_not_there_when_it_is_over(world: World, cache: DiskCache) -> None:
    """Otherwise a private host would be found in the cache by those who may not ask it."""
    world.names[HOST] = [["10.0.0.1"]]
    assert world.fetcher(cache=cache, allow_private=True).fetch(URL, Attempt()) == CAT
    with pytest.raises(Exception, match="not public"):
        world.fetcher(cache=cache).fetch(URL, Attempt())


def test_a_fetcher_that_may_read_less_does_not_take_more_from_the_cache(
    world: World, site: Site, cache: DiskCache
) -> None:
    site.pages["/cat.png"] = image(bytes(2000))
    assert len(world.fetcher(most_bytes=MIB, cache=cache).fetch(URL, Attempt())) == 2000
    with pytest.raises(Exception, match="is larger than"):
        world.fetcher(most_bytes=1000, cache=cache).fetch(URL, Attempt())
