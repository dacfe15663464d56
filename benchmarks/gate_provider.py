"""The simulated provider as a process: Google's wire format, a limit, and a record of the arrivals.

It reads its orders as one line of JSON and prints the environment for workers. To each further line it responds with
its current counts, and at the end of its input it prints everything that it has recorded.
"""

from __future__ import annotations

import json
import re
import sys
import time
from typing import Any

from tests.simulators.arrivals import WINDOW
from tests.simulators.gemini import KEY, GeminiSimulator
from tests.simulators.server import Exchange, SimulatorServer

NUMBER = re.compile(rb"number (\d+)")
"""The job's number is in the prompt, because nothing else of a job reaches a provider."""


class WatchedGemini(GeminiSimulator):
    """Also records when each job's request arrived, by the database's clock."""

    def __init__(self, *, limit: int) -> None:
        super().__init__(limit=limit)
        self.came: dict[int, float] = {}

    def answer(self, exchange: Exchange) -> None:
        now, number = time.time(), NUMBER.search(exchange.body)
        if number:
            self.came[int(number[1])] = now
        super().answer(exchange)

    def times(self) -> list[float]:
        """Arrival times by the monotonic clock, as the limit counts them."""
        return self.arrivals[KEY].times() if KEY in self.arrivals else []


def main() -> None:
    orders = json.loads(sys.stdin.readline())
    gemini = WatchedGemini(limit=orders["limit"])
    with SimulatorServer([gemini]) as server:
        report({"environment": server.environment()})
        while sys.stdin.readline():
            times = gemini.times()
            report({"first": min(times, default=None), "now": time.monotonic(), "arrivals": len(times),
                 "last_minute": sum(when > time.monotonic() - WINDOW for when in times)})  # fmt: skip
        report({"times": gemini.times(), "came": gemini.came})


def report(message: dict[str, Any]) -> None:
    print(json.dumps(message), flush=True)


if __name__ == "__main__":
    main()
