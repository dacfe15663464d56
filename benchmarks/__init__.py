"""Benchmarks of the whole protocol, as ratios to a bound and a peer in one run on the same machine."""

RESULT = {"images": [{"key": "images/noop.webp"}]}
"""The result of every job, in all of the compared programs."""
