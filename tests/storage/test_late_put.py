"""A worker that is paused between checking its lease and writing, and continues after another has done the job."""

from __future__ import annotations

import hashlib
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any, cast

import pytest

from generation_worker.domain.job import Job
from generation_worker.domain.settlement import Outcome, RetryPolicy, settle
from generation_worker.events import Events
from generation_worker.ports import Control, Generated, Storage
from generation_worker.worker.attempt import Attempt
from generation_worker.worker.lease import Lease
from generation_worker.worker.maintenance import sweep
from generation_worker.worker.paid_call import ProviderKeys
from tests.storage.contents import everything
from tests.support.database import Connection, Database
from tests.support.jobs import enqueue, grant, job
from tests.support.protocol import CRASHED, Worker, set_prices
from tests.worker.scripted_tools import ScriptedFetcher, ScriptedImages, ScriptedProvider, generated

AT_ONCE = -60.0
LONG = 60.0
"""Seconds that nobody waits unless something is wrong."""
CALL = {"payload": {"prompt": "a red kite", "output": {"thumbnail": 64}}}
PROCESSING = {
    "kind": "image_processing",
    "payload": {"image": {"key": "inputs/1.png"}, "operations": [{"type": "thumbnail"}]},
}


class Halting:
    """A storage whose writer stands still before its first write, until told to go on."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self.reached, self.go_on = threading.Event(), threading.Event()

    def put(self, key: str, data: bytes, content_type: str) -> None:
        self.reached.set()
        assert self.go_on.wait(LONG)
        self._storage.put(key, data, content_type)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._storage, name)


class Versioned(ScriptedImages):
    """Renders as one version of a library does: other bytes than the next one."""

    def __init__(self, version: bytes) -> None:
        super().__init__()
        self._version = version

    def _picture(self, data: bytes, content_type: str) -> Any:
        return super()._picture(data + self._version, content_type)


def an_attempt(worker: Worker, storage: Storage) -> Attempt:
    def generate(control: Control) -> Generated:
        control.remember("prediction-1")  # so that the other attempt takes up the same call
        return generated()

    provider = ScriptedProvider()
    provider.script = [generate]
    images = Versioned(worker.name.encode())
    fetcher = ScriptedFetcher()
    return Attempt(worker.store, ProviderKeys([provider]), storage, fetcher, images, Events(), max_paid_calls=2)


def a_lease(claimed: Job) -> Lease:
    return Lease(claimed, claimed_at=time.monotonic(), duration=LONG, timeout=LONG)


def settled(worker: Worker, claimed: Job, outcome: Outcome) -> str | None:
    return worker.settle(claimed, settle(claimed, outcome, RetryPolicy(), elapsed=1, spread=0))


def taken_over(worker: Worker) -> Job:
    """The job that somebody else had, claimed once more."""
    worker.connection.execute("UPDATE generation_job SET lease_expires_at = '2000-01-01'")
    [taken] = worker.store.reclaim_jobs(limit=1, lease=LONG)
    worker.settle(taken.job, CRASHED)
    worker.promote_now()
    return worker.claim_one()


@pytest.mark.parametrize("request_", [CALL, PROCESSING], ids=["call", "processing"])
def test_what_it_writes_harms_nobody_and_is_swept_away(
    database: Database, connection: Connection, storage: Storage, request_: dict[str, Any]
) -> None:
    set_prices(connection)
    grant(connection)
    storage.put("inputs/1.png", b"input", "image/png")
    job_id = enqueue(connection, **request_)
    zombie, winner = (Worker(database.connect(), name) for name in ("zombie", "winner"))
    halting = Halting(storage)

    with ThreadPoolExecutor(1) as thread:
        late = zombie.claim_one()
        writing = thread.submit(an_attempt(zombie, cast("Storage", halting)).run, a_lease(late))
        try:
            assert halting.reached.wait(LONG)
            claimed = taken_over(winner)
            outcome = an_attempt(winner, storage).run(a_lease(claimed))
            assert settled(winner, claimed, outcome) == "completed"
        finally:
            halting.go_on.set()
        assert settled(zombie, late, writing.result(LONG)) is None

    [image] = job(connection, job_id)["result"]["images"]
    wanted = sorted(key for key in (image["key"], image["thumbnail_key"], "inputs/1.png") if key)
    stored = storage.get(image["key"])
    assert stored is not None
    assert b"winner" in stored
    assert hashlib.sha256(stored).hexdigest() == image["sha256"]
    assert len(everything(storage)) > len(wanted)
    sweep(winner.store, storage, Events(), grace=AT_ONCE)
    assert everything(storage) == wanted
