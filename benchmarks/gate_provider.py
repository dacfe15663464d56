"""The provider in a process of its own: Google's wire format, a limit, and a record of what arrived.

It reads its orders as one line of JSON and says with which environment workers find it. Then it answers each further
line with how it stands, and the end of its input with everything that it has seen.
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
"""Which job a request belongs to stands in its prompt: nothing else of a job reaches a provider."""


class WatchedGemini(GeminiSimulator):
    """Remembers also when each job's request came, by the clock that the database has."""

    def __init__(self, *, limit: int) -> None:
        super().__init__(limit=limit)
        self.came: dict[int, float] = {}

    def answer(self, exchange: Exchange) -> None:
        now, number = time.time(), NUMBER.search(exchange.body)
        if number:
            self.came[int(number[1])] = now
        super().answer(exchange)

    def times(self) -> list[float]:
        """When requests arrived, by a clock that nobody sets, as the limit counts them."""
        return self.arrivals[KEY].times() if KEY in self.arrivals else []


def main() -> None:
    orders = json.loads(sys.stdin.readline())
    gemini = WatchedGemini(limit=orders["limit"])
    with SimulatorServer([gemini]) as server:
        say({"environment": server.environment()})
        while sys.stdin.readline():
            times = gemini.times()
            say({"first": min(times, default=None), "now": time.monotonic(), "arrivals": len(times),
                 "last_minute": sum(when > time.monotonic() - WINDOW for when in times)})  # fmt: skip
        say({"times": gemini.times(), "came": gemini.came})


def say(answer: dict[str, Any]) -> None:
    print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
