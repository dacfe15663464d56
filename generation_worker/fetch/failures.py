"""Why there is no answer from an address that a user has named. Each reason follows the host's name in a sentence.

ExchangeFailed
├── AddressRefused      not on the public internet: the same again tomorrow
├── CertificateRefused  the host cannot prove its name
├── NotReached          no address, no connection
├── BrokenOff           the connection ended before the answer, or in it
└── TimeUp              not all of it within the time for it
"""

from __future__ import annotations


class ExchangeFailed(Exception):
    """There is no answer. The reason names no address: who asks must not learn what a name leads to in here."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class AddressRefused(ExchangeFailed):
    pass


class CertificateRefused(ExchangeFailed):
    pass


class NotReached(ExchangeFailed):
    pass


class BrokenOff(ExchangeFailed):
    pass


class TimeUp(ExchangeFailed):
    def __init__(self, seconds: float) -> None:
        super().__init__(f"did not send its whole answer within {round(seconds, 1):g} s")
