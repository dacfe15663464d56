"""Ends a worker in good order: claim nothing more, finish what runs, give back what does not finish, write it all."""

from __future__ import annotations

import time
from collections.abc import Callable

from generation_worker.domain.outcome import Released
from generation_worker.ports import StoreUnavailable
from generation_worker.worker.crew import Crew
from generation_worker.worker.settings import Ending

STEP = 0.01
LET_GO = 1.0
"""Seconds in which an attempt that is told to let go may do so itself."""
LAST_WORDS = 5.0
"""Seconds for the last settlements to be written."""
LAST_POST = 2.0
"""Seconds for telling of them, where somebody waits for the end; what is not told then, the next worker tells."""


def shut_down(crew: Crew, ending: Ending, *, hurry: Callable[[], bool]) -> None:
    """Stop the worker. Once ``hurry`` is true the grace is over: what runs is given back at once."""
    crew.events.emit("worker.draining", worker=crew.settings.id, reason=ending.value, busy=crew.pool.busy)
    crew.maintenance.loop.stop()
    if crew.sweeping:
        crew.sweeping.loop.stop()
    crew.poller.loop.stop()
    crew.poller.loop.join(LAST_WORDS)
    if ending is not Ending.BROKEN:
        _finish_what_runs(crew, hurry)
    _give_back_what_runs(crew)
    _write_what_ended(crew)
    _tell_of_it(crew, ending)
    crew.heartbeat.loop.stop()
    crew.settler.loop.stop()
    crew.settler.loop.join(LAST_WORDS)  # a statement that is under way must not be cut off by the end of the process
    crew.listener.close()
    crew.pool.stop()
    _say_goodbye(crew)
    crew.events.emit("worker.stopped", worker=crew.settings.id, reason=ending.value)


def _finish_what_runs(crew: Crew, hurry: Callable[[], bool]) -> None:
    until = time.monotonic() + crew.settings.grace
    while _somebody_works(crew) and time.monotonic() < until and not hurry():
        time.sleep(STEP)


def _give_back_what_runs(crew: Crew) -> None:
    """First the threads are asked, then it is done over their heads, which the fence makes harmless. Not with what has
    outlived its time: a job that hangs must not come back as if nothing had been.
    """
    for lease in crew.leases.all():
        lease.release()
    until = time.monotonic() + LET_GO
    while _somebody_works(crew) and time.monotonic() < until:
        time.sleep(STEP)
    for lease in crew.pool.running():
        if not lease.lost and not lease.overdue(0):
            crew.settler.put(lease, Released())


def _write_what_ended(crew: Crew) -> None:
    until = time.monotonic() + LAST_WORDS
    while crew.settler.waiting and time.monotonic() < until:
        time.sleep(STEP)


def _tell_of_it(crew: Crew, ending: Ending) -> None:
    """With nothing left to do, there is time for every message that is due."""
    if crew.courier is None:
        return
    if ending in (Ending.EMPTY, Ending.STOPPED):
        crew.courier.finish(within=crew.courier.longest if ending is Ending.EMPTY else LAST_POST)
    crew.courier.loop.stop()


def _somebody_works(crew: Crew) -> bool:
    return crew.pool.busy > len(crew.stuck())


def _say_goodbye(crew: Crew) -> None:
    try:
        crew.store.remove_worker(crew.settings.id)
    except StoreUnavailable:
        return  # the row is forgotten after a day
