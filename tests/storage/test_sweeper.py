"""The sweeper deletes what attempts left behind and nothing that is still needed; on disk and on a real S3 server."""

from __future__ import annotations

import os
import time
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from psycopg.types.json import Jsonb

from generation_worker.domain.errors import StorageUnavailable
from generation_worker.events import Events
from generation_worker.ports import Storage
from generation_worker.storage.disk import DiskStorage
from generation_worker.storage.s3 import S3Storage
from generation_worker.worker import maintenance as sweeper
from generation_worker.worker.image_keys import EXTENSIONS, IMAGE_KEY, image_key, thumbnail_key, upload_key
from generation_worker.worker.maintenance import sweep
from tests.domain.jobs import a_job
from tests.simulators.s3.proxy import Proxy, xml_error
from tests.storage.contents import everything
from tests.support.database import Connection
from tests.support.jobs import put_job
from tests.support.protocol import Worker

AT_ONCE = -60.0
"""A grace that is over when an object is stored, whatever the two clocks say."""
HOUR = 3600.0
ATTEMPT, LOSER = "0123456789ab", "ba9876543210"
"""The ends of two lease tokens."""


def image(job_id: UUID, extension: str = "webp", attempt: str = ATTEMPT) -> str:
    return f"images/{job_id}-{attempt}.{extension}"


def thumbnail(job_id: UUID, attempt: str = ATTEMPT) -> str:
    return f"thumbnails/{job_id}-{attempt}.webp"


def put(storage: Storage, *keys: str) -> None:
    for key in keys:
        storage.put(key, b"picture", "image/webp")


def completed(connection: Connection, **keys: str | None) -> UUID:
    """A completed job whose only image has these keys, with `{id}` for the job's id."""
    job_id = uuid4()
    named = {name: key and key.format(id=job_id) for name, key in keys.items()}
    return put_job(connection, "completed", id=job_id, result=Jsonb({"images": [named]}))


def test_only_what_its_job_does_not_want_is_removed(storage: Storage, worker: Worker, connection: Connection) -> None:
    keys = {"key": f"images/{{id}}-{ATTEMPT}.webp", "thumbnail_key": f"thumbnails/{{id}}-{ATTEMPT}.webp"}
    wanted = completed(connection, **keys)
    plain = completed(connection, **(keys | {"thumbnail_key": None}))
    over = [put_job(connection, status) for status in ("failed", "cancelled")]
    going_on = [put_job(connection, status) for status in ("pending", "scheduled", "rate_limited", "processing")]
    pruned = uuid4()
    for job_id in [wanted, plain, *over, *going_on, pruned]:
        put(storage, image(job_id), thumbnail(job_id))
    put(storage, image(wanted, "png"), image(wanted, attempt=LOSER), thumbnail(wanted, attempt=LOSER))
    theirs = f"{over[0]}-{ATTEMPT}"
    foreign = [f"images/{theirs}{end}" for end in ("", ".gif", ".webp.bak", "0.webp")]
    foreign += [f"images/x{theirs}.webp", f"images/{over[0]}.webp", f"uploads/{theirs}.webp"]
    foreign += [f"old/images/{theirs}.webp"]
    put(storage, *foreign)
    sweep(worker.store, storage, Events(), grace=AT_ONCE)
    kept = [key for job_id in [wanted, *going_on, pruned] for key in (image(job_id), thumbnail(job_id))]
    assert everything(storage) == sorted([*kept, image(plain), *foreign])


def test_a_run_is_bounded_and_the_next_one_goes_on(
    storage: Storage, worker: Worker, connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweeper, "PAGE", 2)
    monkeypatch.setattr(sweeper, "MOST_PAGES", 2)
    wanted = {image(put_job(connection, "processing", id=UUID(int=number))) for number in range(5)}
    orphans = {image(put_job(connection, "failed", id=UUID(int=number))) for number in range(5, 9)}
    put(storage, *wanted, *orphans)
    left: list[int] = []
    for _ in range(3):
        sweep(worker.store, storage, Events(), grace=AT_ONCE)  # each run may be another worker's
        left.append(len(orphans & set(everything(storage))))
    assert left == [4, 1, 0]
    assert set(everything(storage)) == wanted
    put(storage, thumbnail(UUID(int=8)))
    while everything(storage) != sorted(wanted) or worker.store.read_cursor("sweep") is not None:
        sweep(worker.store, storage, Events(), grace=AT_ONCE)


def test_it_is_told_how_many_were_removed(storage: Storage, worker: Worker, connection: Connection) -> None:
    seen: list[tuple[str, dict[str, Any]]] = []
    events = Events()
    events.subscribe(lambda name, fields: seen.append((name, fields)))
    put(storage, image(put_job(connection, "failed")), image(put_job(connection, "cancelled")))
    sweep(worker.store, storage, events, grace=AT_ONCE)
    sweep(worker.store, storage, events, grace=AT_ONCE)
    assert seen == [("objects.swept", {"number": 2})]


def test_for_a_day_nothing_is_touched(storage: Storage, worker: Worker, connection: Connection) -> None:
    orphan = image(put_job(connection, "failed"))
    put(storage, orphan)
    sweep(worker.store, storage, Events())
    assert everything(storage) == [orphan]


def test_a_day_later_it_goes(disk: DiskStorage, tmp_path: Path, worker: Worker, connection: Connection) -> None:
    older, younger = (image(put_job(connection, "failed")) for _ in range(2))
    put(disk, older, younger)
    written(tmp_path / older, 25 * HOUR)
    written(tmp_path / younger, 23 * HOUR)
    sweep(worker.store, disk, Events())
    assert everything(disk) == [younger]


def test_what_crashes_left_half_written_goes_after_a_day(disk: DiskStorage, tmp_path: Path, worker: Worker) -> None:
    put(disk, "images/kept.webp")
    for name, age in (("images/.half-written-1", 25), (".half-written-2", 25), ("images/.half-written-3", 23)):
        (tmp_path / name).write_bytes(b"half")
        written(tmp_path / name, age * HOUR)
    written(tmp_path / "images/kept.webp", 25 * HOUR)
    sweep(worker.store, disk, Events())
    assert sorted(path.name for path in tmp_path.rglob("*") if path.is_file()) == [".half-written-3", "kept.webp"]


def test_what_could_not_be_removed_is_found_again(
    hasty: S3Storage, proxy: Proxy, worker: Worker, connection: Connection
) -> None:
    for key in everything(hasty):
        hasty.delete(key)
    put(hasty, *(image(put_job(connection, "failed")) for _ in range(3)))
    proxy.fail(xml_error(403, "AccessDenied"), match=lambda request: request.method == "DELETE")
    run = partial(sweep, worker.store, hasty, Events(), grace=AT_ONCE)
    with pytest.raises(StorageUnavailable, match=r"cannot delete images/.*: the key must be allowed to list"):
        run()
    assert worker.store.read_cursor("sweep") is None
    run()
    assert everything(hasty) == []


def test_uploads_go_when_their_time_is_over(storage: Storage, worker: Worker, connection: Connection) -> None:
    needed, unneeded = (upload_key(user, uuid4(), "image/png") for user in ("ada", None))
    put_job(connection, "pending", payload={"prompt": "a", "images": [{"key": needed}]})
    theirs = ["uploads/me.png", f"uploads/{uuid4()}.png", "uploads/shared/me.png"]
    put(storage, needed, unneeded, *theirs)
    sweep(worker.store, storage, Events())
    assert unneeded in everything(storage)
    sweep(worker.store, storage, Events(), keep_uploads=HOUR)
    assert unneeded in everything(storage)
    connection.execute("UPDATE maintenance_task SET cursor = NULL")
    sweep(worker.store, storage, Events(), keep_uploads=0.000001)
    assert everything(storage) == sorted([needed, *theirs])
    assert swept(connection) == [unneeded]


def swept(connection: Connection) -> list[str]:
    """What is known of uploads that are gone."""
    return [row[0] for row in connection.execute("SELECT key FROM swept_upload ORDER BY key").fetchall()]


def test_an_upload_that_is_not_deleted_is_not_said_to_be(
    hasty: S3Storage, proxy: Proxy, worker: Worker, connection: Connection
) -> None:
    for key in everything(hasty):
        hasty.delete(key)
    first, second = sorted(upload_key(None, uuid4(), "image/png") for _ in range(2))
    put(hasty, first, second)
    proxy.fail(
        xml_error(403, "AccessDenied"), match=lambda request: request.method == "DELETE" and second in request.path
    )
    run = partial(sweep, worker.store, hasty, Events(), keep_uploads=0.000001)
    with pytest.raises(StorageUnavailable):
        run()
    assert (everything(hasty), swept(connection)) == ([second], [first])
    run()
    assert (everything(hasty), swept(connection)) == ([], [first, second])


def test_every_key_that_an_attempt_makes_is_known() -> None:
    job = a_job(id=str(uuid4()), lease_token=str(uuid4()))
    for key in [*(image_key(job, kind) for kind in EXTENSIONS), thumbnail_key(job)]:
        found = IMAGE_KEY.fullmatch(key)
        assert found is not None
        assert found["job"] == job.id


def written(path: Path, seconds_ago: float) -> None:
    """Make it look as if it had been written then."""
    then = time.time() - seconds_ago
    os.utime(path, (then, then))
