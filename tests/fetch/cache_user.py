"""One of several processes that share a cache directory: ``python -m tests.fetch.cache_user DIRECTORY ROUNDS``."""

from __future__ import annotations

import random
import sys
from pathlib import Path

from generation_worker.fetch.cache import DiskCache

LIMIT = 200_000
KEYS = [f"{n:064x}" for n in range(12)]


def content(key: str, version: int) -> bytes:
    """Of a version of 0 to 2: as long as an image may be, and the same for everybody."""
    return f"{key} {version} ".encode() * (300 * (version + 1))


def main(directory: Path, rounds: int) -> None:
    cache = DiskCache(directory, most_bytes=LIMIT)
    cache.prepare()
    chance = random.Random(str(directory))
    found = 0
    for _ in range(rounds):
        key = chance.choice(KEYS)
        data = cache.get(key, most_bytes=LIMIT)
        found += data is not None
        assert data is None or data in [content(key, version) for version in range(3)], f"{len(data)} bytes of nothing"
        if chance.random() < 0.5:
            cache.put(key, content(key, chance.randrange(3)))
    print(found)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
