"""The results of the checks of ``doctor``.

A fault keeps a worker from working, or will cost credits or images. A warning should be read today. A skipped check has
its reason.
"""

from typing import Literal, NamedTuple

Grade = Literal["ok", "warning", "fault", "skipped"]


class Verdict(NamedTuple):
    """``detail`` is one line about the result, ``remedy`` what to do; neither contains a secret."""

    status: Grade
    detail: str
    remedy: str | None = None


class Finding(NamedTuple):
    """A verdict with the name of its check, such as ``storage.put``, and how long that took."""

    check: str
    status: Grade
    detail: str
    remedy: str | None
    milliseconds: int


def ok(detail: str) -> Verdict:
    return Verdict("ok", detail)


def warning(detail: str, remedy: str) -> Verdict:
    return Verdict("warning", detail, remedy)


def fault(detail: str, remedy: str) -> Verdict:
    return Verdict("fault", detail, remedy)


def skipped(reason: str) -> Verdict:
    return Verdict("skipped", reason)
