"""How answers and errors look: a table on a terminal, aligned lines elsewhere, or one JSON document.

An error says what is wrong and what to do. It is never a traceback and never shows a secret.
"""

import json
import sys
from collections.abc import Iterable, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any, NamedTuple

from typer import Abort, TyperException

from generation_worker.domain import estimate as spans
from generation_worker.log.redaction import redact

NOTHING = "–"
FAILED, WRONG = 1, 2
"""Exit statuses: the command failed, and its usage or the configuration is wrong."""

Cells = Sequence[Any]


class CommandProblem(NamedTuple):
    """``code`` never changes its meaning; ``status`` is the exit status."""

    code: str
    message: str
    hint: str
    status: int


def print_json(value: Any) -> None:
    sys.stdout.write(json.dumps(plain(value), ensure_ascii=False, indent=2) + "\n")
    sys.stdout.flush()


def plain(value: Any) -> Any:
    """``value`` as JSON can hold it: tuples with names become objects, ids, times and spans become texts."""
    if hasattr(value, "_asdict"):
        return plain(value._asdict())
    if isinstance(value, dict):
        return {str(name): plain(part) for name, part in value.items()}  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
    if isinstance(value, (list, tuple)):
        return [plain(part) for part in value]  # pyright: ignore[reportUnknownVariableType]
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, Decimal):
        return int(value) if value == int(value) else float(value)
    return value if isinstance(value, (str, int, float)) or value is None else str(value)


def print_table(columns: Sequence[str], rows: Iterable[Cells], *, title: str = "") -> None:
    """Rows under their columns; nothing at all if there are none."""
    texts = [[text(cell) for cell in row] for row in rows]
    if not texts:
        return
    if sys.stdout.isatty():
        from rich.console import Console  # noqa: PLC0415 - only for a terminal

        Console().print(rich_table(columns, texts, title=title))
    else:
        sys.stdout.write("".join(f"{line}\n" for line in aligned(columns, texts, title=title)))


def print_facts(facts: Iterable[tuple[str, Any]]) -> None:
    """Names and values, one pair a line."""
    pairs = [(name, text(value)) for name, value in facts]
    width = max((len(name) for name, _ in pairs), default=0)
    sys.stdout.write("".join(f"{name.ljust(width)}  {value}\n" for name, value in pairs))


def print_problem(problem: CommandProblem, *, as_json: bool) -> int:
    """Print ``problem`` on stderr, and on stdout if JSON was asked for; its exit status."""
    message, hint = redact(problem.message), redact(problem.hint)
    lines = [*message.splitlines(), *([hint] if hint else [])]
    sys.stderr.write("".join(f"{'Error: ' if n == 0 else '       '}{line}\n" for n, line in enumerate(lines)))
    if as_json:
        print_json({"error": {"code": problem.code, "message": message, "hint": hint or None}})
    return problem.status


def report_usage(error: TyperException | Abort, *, as_json: bool) -> int:
    """Print what is wrong with the words on the command line, or that a person answered no; the exit status."""
    if isinstance(error, Abort):
        return print_problem(CommandProblem("aborted", "Nothing was changed.", "", FAILED), as_json=as_json)
    message = error.format_message().strip()
    if not message:
        return WRONG  # the help that was shown instead of a command says enough
    context = getattr(error, "ctx", None)
    command = context.command_path if context is not None else "generation-worker"
    return print_problem(CommandProblem("usage", message, f"See {command} --help", WRONG), as_json=as_json)


def rich_table(columns: Sequence[str], rows: Iterable[Sequence[str]], *, title: str = "") -> Any:
    """A table for a terminal."""
    from rich.box import SIMPLE_HEAD  # noqa: PLC0415 - only for a terminal
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    table = Table(title=title or None, title_justify="left", title_style="bold", box=SIMPLE_HEAD, pad_edge=False)
    for number, column in enumerate(columns):
        table.add_column(column, overflow="fold", no_wrap=number == 0)
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))  # a Text: what users wrote is no markup
    return table


def aligned(columns: Sequence[str], rows: Iterable[Sequence[str]], *, title: str = "") -> list[str]:
    """The same as lines for a file or a pipe, as wide as they need to be."""
    whole = [list(columns), *(list(row) for row in rows)]
    widths = [max(len(row[n]) for row in whole) for n in range(len(columns))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in whole]
    return [title, *lines, ""] if title else lines


def text(value: Any) -> str:
    """``value`` on one line, without control characters: a terminal obeys them, whoever wrote them."""
    if value is None or value == "":
        return NOTHING
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, datetime):
        return value.astimezone().isoformat(" ", "seconds")
    if isinstance(value, (dict, list)):
        value = json.dumps(plain(value), ensure_ascii=False)
    return "".join(c if c.isprintable() else " " for c in str(value))


def span(seconds: float | None) -> str:
    """A span of time, or that there is none."""
    return NOTHING if seconds is None else spans.span(seconds)
