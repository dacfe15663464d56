"""Measurements of the whole protocol, as ratios in one run against a bound and a peer on the same machine."""

RESULT = {"images": [{"key": "images/noop.webp"}]}
"""What every job comes to, whoever works on it."""
