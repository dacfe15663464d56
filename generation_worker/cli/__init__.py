"""The command line: ``generation-worker``.

Exit status: 0 done, 1 the thing that was asked for failed, 2 wrong usage or configuration. Data goes to stdout, errors
to stderr. Whatever is heavy is imported by the command that needs it, so that looking at a queue takes no time.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from typer.main import get_command

from generation_worker.cli.app import app
from generation_worker.cli.problems import report

LEAVES_A_TRACE = "run"
"""The command whose unexpected end belongs into its log, with the way that led there."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command in ``arguments``, by default the process's; its exit status."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        status = get_command(app).main(given, prog_name="generation-worker", standalone_mode=False)
    except Exception as error:  # noqa: BLE001 - whatever happens, a person reads what and not where
        return report(error, as_json="--json" in given, expose=given[:1] == [LEAVES_A_TRACE])
    return status or 0
