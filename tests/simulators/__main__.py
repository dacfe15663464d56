"""Runs the simulated providers by hand, and prints the settings for a worker that uses them."""

from __future__ import annotations

import argparse
import signal

from tests.simulators import gemini, replicate
from tests.simulators.gemini import GeminiSimulator
from tests.simulators.replicate import ReplicateSimulator
from tests.simulators.replicate_hooks import MANNERS, SECRET
from tests.simulators.server import SimulatorServer


def main() -> None:
    options = _options()
    simulators = [
        GeminiSimulator(limit=options.limit, seconds=options.seconds),
        ReplicateSimulator(limit=options.limit, seconds=options.seconds),
    ]
    ends = {signal.SIGINT, signal.SIGTERM}
    signal.pthread_sigmask(signal.SIG_BLOCK, ends)  # before there are threads, which inherit it
    with SimulatorServer(simulators, port=options.port) as server:
        print(f"Simulated providers on {server.url}; Ctrl-C ends them. To use them:\n")
        for name, value in server.environment().items():
            print(f"  export {name}={value}")
        print("\nIn a prompt, sim:WORD or sim:WORD=SECONDS brings trouble.")
        for name, words in (("Gemini", gemini.WORDS), ("Replicate", replicate.WORDS)):
            print(f"{name}: {', '.join(words)}.")
        print("\nFor webhooks, with the address of the worker's own HTTP server:\n")
        print(f"  export REPLICATE_WEBHOOK_SECRET={SECRET}\n  export REPLICATE_WEBHOOK_URL=http://127.0.0.1:8080")
        print(f"\nhook:WORD in a prompt sends them otherwise: {', '.join(MANNERS)}.", flush=True)
        signal.sigwait(ends)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.simulators", description=__doc__)
    parser.add_argument("--port", type=int, default=8091, help="0 takes any that is free (default: 8091)")
    parser.add_argument("--limit", type=int, help="requests per minute and key; more get 429 (default: no limit)")
    parser.add_argument("--seconds", type=float, default=0.0, help="how long a picture takes (default: 0)")
    return parser.parse_args()


if __name__ == "__main__":
    main()
