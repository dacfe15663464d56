"""What is known of deleted uploads: noted once, kept as long as jobs, and heeded by whoever replays a job."""

from __future__ import annotations

from typing import Any
from uuid import UUID, uuid4

import pytest

from generation_worker import InputGone, replay
from tests.support import jobs
from tests.support.database import Connection
from tests.support.protocol import Worker

HOUR = 3600.0
GONE, KEPT = "uploads/shared/gone.png", "uploads/shared/kept.png"
OPERATIONS = [{"type": "thumbnail"}]


def known(connection: Connection) -> set[str]:
    return {row[0] for row in connection.execute("SELECT key FROM swept_upload").fetchall()}


@pytest.fixture
def swept(worker: Worker, connection: Connection) -> None:
    jobs.grant(connection, "ada", 100)
    worker.store.note_swept([GONE])


def dead(connection: Connection, kind: str, payload: dict[str, Any], status: str = "failed") -> UUID:
    provider = "none" if kind == "image_processing" else "local"
    return jobs.put_job(connection, status, kind=kind, provider=provider, payload=payload)


def test_they_are_noted_once_and_forgotten_with_the_jobs(worker: Worker, connection: Connection):
    worker.store.note_swept([GONE, KEPT])
    worker.store.note_swept([KEPT, "c"])
    assert known(connection) == {GONE, KEPT, "c"}
    connection.execute("UPDATE swept_upload SET swept_at = swept_at - interval '61 minutes' WHERE key <> 'c'")
    assert worker.store.prune_swept(retention=HOUR, limit=1) == 1
    assert worker.store.prune_swept(retention=HOUR, limit=10) == 1
    assert known(connection) == {"c"}


@pytest.mark.usefixtures("swept")
@pytest.mark.parametrize("status", ["failed", "cancelled"])
@pytest.mark.parametrize(
    ("kind", "payload", "field"),
    [
        ("image_processing", {"image": {"key": GONE}, "operations": OPERATIONS}, "payload.image"),
        ("text_to_image", {"prompt": "a", "images": [{"key": KEPT}, {"key": GONE}]}, r"payload.images\[1\]"),
        ("image_conversion", {"user_image": {"key": KEPT}, "cloth_image": {"key": GONE}}, "payload.cloth_image"),
    ],
)
def test_a_job_that_names_one_is_not_replayed(connection: Connection, status: str, kind: str, payload: Any, field: str):
    job = dead(connection, kind, payload, status)
    with pytest.raises(InputGone, match=f"^{field}: the uploaded image {GONE} was deleted") as caught:
        replay(connection, job)
    assert "Upload it again" in caught.value.hint
    assert connection.execute("SELECT FROM generation_job WHERE retry_of IS NOT NULL").fetchall() == []


@pytest.mark.usefixtures("swept")
@pytest.mark.parametrize(
    ("kind", "payload"),
    [
        ("image_processing", {"image": {"key": KEPT}, "operations": OPERATIONS}),
        ("text_to_image", {"prompt": GONE}),
        ("text_to_image", {"prompt": "a", "images": [{"url": f"https://images.example/{GONE}"}]}),
    ],
)
def test_every_other_job_is(connection: Connection, kind: str, payload: Any):
    assert not replay(connection, dead(connection, kind, payload)).duplicate


def test_what_was_replayed_before_is_still_the_same_job(worker: Worker, connection: Connection):
    jobs.grant(connection, "ada", 100)
    job = dead(connection, "image_processing", {"image": {"key": GONE}, "operations": OPERATIONS})
    new = replay(connection, job)
    worker.store.note_swept([GONE, str(uuid4())])
    assert replay(connection, job) == new._replace(duplicate=True)
