"""Run the simulated providers by hand, and say how to point a worker at them."""

from __future__ import annotations

import argparse
import signal

from tests.simulators.gemini import WORDS, GeminiSimulator
from tests.simulators.server import SimulatorServer


def main() -> None:
    options = _options()
    simulators = [
        GeminiSimulator(limit=options.limit, seconds=options.seconds),
        # Each further provider is one more line here, in a file of its own.
    ]
    ends = {signal.SIGINT, signal.SIGTERM}
    signal.pthread_sigmask(signal.SIG_BLOCK, ends)  # before there are threads, which inherit it
    with SimulatorServer(simulators, port=options.port) as server:
        print(f"Simulated providers on {server.url}; Ctrl-C ends them. To use them:\n")
        for name, value in server.environment().items():
            print(f"  export {name}={value}")
        print(f"\nIn a prompt, sim:WORD or sim:WORD=SECONDS brings trouble: {', '.join(WORDS)}.", flush=True)
        signal.sigwait(ends)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.simulators", description=__doc__)
    parser.add_argument("--port", type=int, default=8091, help="0 takes any that is free (default: 8091)")
    parser.add_argument("--limit", type=int, help="requests per minute and key; more get 429 (default: no limit)")
    parser.add_argument("--seconds", type=float, default=0.0, help="how long a picture takes (default: 0)")
    return parser.parse_args()


if __name__ == "__main__":
    main()
