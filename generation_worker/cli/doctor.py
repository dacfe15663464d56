"""``doctor``: what is wrong, and what to do about it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import closing
from typing import TYPE_CHECKING, Annotated

import typer

from generation_worker.cli.options import Json
from generation_worker.cli.output import print_json
from generation_worker.cli.problems import FAILED, WRONG
from generation_worker.cli.settings import secrets

if TYPE_CHECKING:
    from generation_worker.doctor.check import Check
    from generation_worker.domain.finding import Finding

SETTINGS = "settings"


def doctor(
    only: Annotated[
        list[str] | None,
        typer.Option(
            metavar="AREA,…", help="Only these: settings, database, storage, providers, images, fleet, machine."
        ),
    ] = None,
    timeout: Annotated[float, typer.Option(min=0.1, max=600, help="Most seconds for one check.")] = 20.0,
    as_json: Json = False,
) -> int:
    """Check everything that a worker needs, with a remedy for each fault. Changes nothing and spends nothing."""
    from generation_worker.config import examine_settings  # noqa: PLC0415 - not for --help
    from generation_worker.doctor.examination import Examination  # noqa: PLC0415
    from generation_worker.log.redaction import hide_secrets  # noqa: PLC0415

    settings, problems = examine_settings()
    secrets.extend(settings.secret_values())
    hide_secrets(secrets)
    with closing(Examination(settings, problems, limit=timeout)) as examination:
        try:
            areas = examination.areas(_names(only or []))
        except ValueError as error:
            raise typer.BadParameter(str(error), param_hint="--only") from None
        findings = list(_examine(areas, timeout, as_json=as_json))
    if as_json:
        print_json(findings)
    return _status(findings)


def _names(only: list[str]) -> list[str]:
    return [name.strip() for part in only for name in part.split(",") if name.strip()]


def _examine(areas: list[list[Check]], limit: float, *, as_json: bool) -> Iterator[Finding]:
    """The findings in the order of the report, told while they come unless JSON was asked for."""
    from generation_worker.cli.doctor_report import Report  # noqa: PLC0415 - not for --help
    from generation_worker.doctor.run import run  # noqa: PLC0415

    names = [check.name for checks in areas for check in checks]
    with Report(names, sys.stderr if as_json else sys.stdout, silent=as_json) as report:
        for event in run(areas, limit=limit):
            yield from report.tell(event)


def _status(findings: list[Finding]) -> int:
    faults = {finding.check for finding in findings if finding.status == "fault"}
    if SETTINGS in faults:
        return WRONG
    return FAILED if faults else 0
