"""The report: the outcome of each job, whether it is the expected one, the accounts, and a sheet with all images."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from io import BytesIO
from itertools import groupby
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple
from uuid import UUID

from PIL import Image, ImageDraw, ImageFont
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from generation_worker.db.ledger import LedgerViolation
from generation_worker.db.query import Queries
from generation_worker.demo.scene import STUDIO, Act, Expected
from generation_worker.demo.stage import SceneJob, Stage
from generation_worker.ports import Storage

PASSED_BY = 60
"""Jobs of the studio that may start while a user with one job waits: those claimed until the user's job is seen."""


class Outcome(NamedTuple):
    """A job at its end. Times in seconds."""

    id: UUID
    user_id: str
    kind: str
    status: str
    error_code: str | None
    error_message: str | None
    attempt: int
    waits: int
    cost: int
    calls: int
    paid: int
    debited: int
    refunded: int
    waited: float | None
    """Until it started."""
    took: float | None
    """Until it was final."""
    finished_as: int
    image: dict[str, Any] | None
    behind: int
    """Jobs of the studio that were not started when it came."""
    passed: int
    """Those of them that started before it."""


class DemoAccount(NamedTuple):
    """A user's credits: granted at the beginning, moved by jobs, left at the end."""

    user: str
    granted: int
    adjusted: int
    debited: int
    refunded: int
    after: int


class SceneResult(NamedTuple):
    """A job of the scene, its outcome, and how that differs from the expected one."""

    job: SceneJob
    outcome: Outcome
    problems: list[str]
    lost: bool
    """It was running on the worker that was killed."""


@dataclass(frozen=True, slots=True)
class DemoReport:
    seconds: float
    results: list[SceneResult]
    refused: list[tuple[Act, str, str]]
    """Act, user and message of each request that did not become a job."""
    accounts: list[DemoAccount]
    audit: list[str]
    """Violations of what must hold at any moment."""
    problems: list[str] = field(default_factory=list[str])
    """Everything that is not as expected, one line each."""


def make_report(
    queries: Queries, stage: Stage, storage: Storage, found: Sequence[LedgerViolation], seconds: float
) -> DemoReport:
    results = [_compare(job, outcome, stage, storage) for job, outcome in _outcomes(queries, stage.jobs)]
    accounts = queries.all(DemoAccount, "demo_accounts")
    audit = [f"{violation.invariant}: {dict(violation.row)}" for violation in found]
    return DemoReport(
        seconds=seconds,
        results=results,
        refused=[(refused.act, refused.request.user_id, refused.message) for refused in stage.refused],
        accounts=accounts,
        audit=audit,
        problems=[*_stage_problems(stage), *_job_problems(results), *_money_problems(accounts, audit)],
    )


def _outcomes(queries: Queries, jobs: Sequence[SceneJob]) -> Iterable[tuple[SceneJob, Outcome]]:
    rows = queries.all(Outcome, "demo_outcomes", ids=[job.id for job in jobs], studio=STUDIO)
    found = {row.id: row for row in rows}
    return [(job, found[job.id]) for job in jobs]


def _compare(job: SceneJob, outcome: Outcome, stage: Stage, storage: Storage) -> SceneResult:
    expected = job.act.expected
    if outcome.id in stage.lost:
        expected = replace(expected, attempts=expected.attempts + 1, calls=expected.calls + 1, paid=expected.paid + 1)
    problems = [
        f"{name} is {found!r}, expected was {wanted!r}"
        for name, found, wanted in _comparisons(expected, outcome)
        if found != wanted
    ]
    if outcome.image is not None and not _is_stored(outcome.image, storage):
        problems.append("its image is not in the storage as the result describes it")
    if job.act.late and outcome.passed > PASSED_BY:
        problems.append(f"{outcome.passed} jobs of the studio started before it, though it came from another user")
    return SceneResult(job, outcome, problems, lost=outcome.id in stage.lost)


def _comparisons(expected: Expected, outcome: Outcome) -> list[tuple[str, Any, Any]]:
    debited = outcome.cost if expected.debited else 0
    return [
        ("status", outcome.status, expected.status),
        ("error_code", outcome.error_code, expected.error_code),
        ("attempt", outcome.attempt, expected.attempts),
        ("waits", outcome.waits, expected.waits),
        ("number of provider calls", outcome.calls, expected.calls),
        ("number of paid calls", outcome.paid, expected.paid),
        ("debit", outcome.debited, debited),
        ("refund", outcome.refunded, 0 if expected.status == "completed" else debited),
    ]


def _is_stored(image: dict[str, Any], storage: Storage) -> bool:
    data = storage.get(image["key"])
    return data is not None and hashlib.sha256(data).hexdigest() == image["sha256"]


def _job_problems(results: Sequence[SceneResult]) -> list[str]:
    return [
        f"{each.job.act.title}, {each.outcome.user_id}, job {each.outcome.id}: {problem}"
        for each in results
        for problem in each.problems
    ]


def _stage_problems(stage: Stage) -> list[str]:
    refused = [
        f"{refused.act.title}, {refused.request.user_id}: refused with {refused.message}"
        for refused in stage.refused
        if refused.act.refused != refused.code
    ]
    accepted = [
        f"{job.act.title}, {job.request.user_id}: accepted, expected was {job.act.refused}"
        for job in stage.jobs
        if job.act.refused
    ]
    crash = [] if stage.lost else ["the second worker was not killed: it held no jobs"]
    return stage.problems + refused + accepted + crash


def _money_problems(accounts: Sequence[DemoAccount], audit: Sequence[str]) -> list[str]:
    wrong = [
        f"account {each.user}: {each.after} is not what its entries amount to"
        for each in accounts
        if each.granted + each.adjusted - each.debited + each.refunded != each.after
    ]
    return wrong + [f"audit: {violation}" for violation in audit]


# The contact sheet.

COLUMNS = 16
PICTURE = 120
CAPTION = 18
GAP = 6
HEAD = 44
PAPER, INK, MARK = (250, 249, 246), (60, 60, 66), (214, 84, 44)


def write_contact_sheet(path: Path, outcomes: Sequence[Outcome], storage: Storage, marked: set[str]) -> None:
    """One WebP with the completed images; the users in ``marked`` have a frame."""
    done = sorted((outcome for outcome in outcomes if outcome.image), key=lambda outcome: outcome.finished_as)
    rows = -(-len(done) // COLUMNS)
    cell = (PICTURE + GAP, PICTURE + CAPTION + GAP)
    sheet = Image.new("RGB", (GAP + COLUMNS * cell[0], HEAD + max(rows, 1) * cell[1]), PAPER)
    pen = ImageDraw.Draw(sheet)
    title = f"{len(done)} images in the order in which they were finished; framed: users with one job"
    pen.text((GAP * 2, 12), title, font=_font(19), fill=INK)
    for n, outcome in enumerate(done):
        corner = (GAP + n % COLUMNS * cell[0], HEAD + n // COLUMNS * cell[1])
        _paste(sheet, corner, outcome, storage)
        _write(pen, corner, f"{n + 1} {outcome.user_id}", framed=outcome.user_id in marked)
    sheet.save(path, "WEBP", quality=80)


def _paste(sheet: Image.Image, corner: tuple[int, int], outcome: Outcome, storage: Storage) -> None:
    assert outcome.image is not None
    data = _smallest(outcome.image, storage)
    if data is None:
        return
    with Image.open(BytesIO(data)) as image:
        image.thumbnail((PICTURE, PICTURE))
        picture = image.convert("RGBA")
    place = (corner[0] + (PICTURE - picture.width) // 2, corner[1] + (PICTURE - picture.height) // 2)
    sheet.paste(picture, place, picture)


def _smallest(image: dict[str, Any], storage: Storage) -> bytes | None:
    return storage.get(image["thumbnail_key"] or image["key"])


def _write(pen: ImageDraw.ImageDraw, corner: tuple[int, int], text: str, *, framed: bool) -> None:
    x, y = corner
    if framed:
        pen.rectangle((x - 3, y - 3, x + PICTURE + 2, y + PICTURE + CAPTION - 1), outline=MARK, width=3)
    pen.text((x + 2, y + PICTURE + 1), text, font=_font(12), fill=MARK if framed else INK)


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)


# The report in print.

INDENT = 10
WHO = "{:10}{:31}"
NUMBERS = "{:>4}{:>6}{:>11}{:>8}"
"""The lines about jobs fit into 80 columns."""
COLORS = {"completed": "green", "failed": "red", "cancelled": "magenta", "refused": "yellow"}


def print_report(console: Console, report: DemoReport, *, show_all: bool) -> None:
    _print_jobs(console, report, show_all=show_all)
    console.print(_accounts_table(report.accounts))
    console.print(_fairness(report), highlight=False)
    console.print(_crash(report), highlight=False)
    console.print(_audit(report.audit), highlight=False)
    for problem in report.problems:
        console.print(Text(f"Not as expected: {problem}", "red"))


def print_list(console: Console, title: str, lines: Mapping[str, str]) -> None:
    console.print(f"\n[bold]{title}[/bold]")
    for name, text in lines.items():
        console.print(f"{name.replace('_', ' '):15}{text}", highlight=False, markup=False, soft_wrap=True)


def as_document(report: DemoReport) -> dict[str, Any]:
    """The report as a JSON document."""
    return {
        "as_expected": not report.problems,
        "problems": report.problems,
        "seconds": round(report.seconds, 2),
        "jobs": [_as_object(each) for each in report.results],
        "refused": [{"act": act.title, "user": user, "message": message} for act, user, message in report.refused],
        "accounts": [account._asdict() for account in report.accounts],
        "audit": report.audit,
    }


def _as_object(result: SceneResult) -> dict[str, Any]:
    outcome = result.outcome._asdict()
    outcome["image"] = outcome["image"] and outcome["image"]["key"]
    why = result.job.act.why
    about = {"act": result.job.act.title, "why": why, "lost_by_a_worker": result.lost, "problems": result.problems}
    return {**about, **outcome, "id": str(outcome["id"])}


def _print_jobs(console: Console, report: DemoReport, *, show_all: bool) -> None:
    """A line for each act, or with ``show_all`` for each of its jobs, and below it the reason of the outcome."""
    console.print("\n[bold]The outcome of each job[/bold]")
    console.print(Text(" " * 51 + NUMBERS.format("jobs", "tried", "calls/paid", "credits"), "dim"))
    for act, group in groupby(report.results, key=lambda each: each.job.act):
        results = list(group)
        if show_all:
            for each in results:
                _print_line(console, f"{each.outcome.id} ", [each])
        else:
            _print_line(console, act.title, results)
        _print_why(console, (f"{act.title}: " if show_all else "") + _why(act, results))
    for act, user, message in report.refused:
        console.print(Text.assemble(WHO.format(user, act.title), ("refused", COLORS["refused"])))
        _print_why(console, message)


def _print_line(console: Console, label: str, results: Sequence[SceneResult]) -> None:
    outcomes = [each.outcome for each in results]
    users = list(dict.fromkeys(each.user_id for each in outcomes))
    numbers = (
        str(len(results)),
        _range(each.attempt for each in outcomes),
        f"{sum(each.calls for each in outcomes)} / {sum(each.paid for each in outcomes)}",
        _credits(sum(each.debited for each in outcomes), sum(each.refunded for each in outcomes)),
    )
    who = users[0] if len(users) == 1 else f"{users[0]}…{users[-1]}"
    console.print(Text.assemble(WHO.format(who, label), _ending(results), NUMBERS.format(*numbers)), soft_wrap=True)


def _print_why(console: Console, why: str) -> None:
    console.print(Padding(Text(why, "dim"), (0, 0, 0, INDENT), expand=False))


def _why(act: Act, results: Sequence[SceneResult]) -> str:
    """The error of one of the jobs, or the act's own explanation."""
    outcomes = [each.outcome for each in results]
    error = next((f"{each.error_code}: {each.error_message}" for each in outcomes if each.error_message), None)
    return error or act.why


def _ending(results: Sequence[SceneResult]) -> Text:
    statuses = dict.fromkeys(each.outcome.status for each in results)
    text = Text(", ").join(Text(status, COLORS.get(status, "yellow")) for status in statuses)
    if any(each.problems for each in results):
        text.append(" (!)", "bold red")
    text.pad_right(max(0, 10 - len(text)))
    return text


def _credits(debited: int, refunded: int) -> str:
    return f"{_amount(-debited)} {_amount(refunded)}" if refunded else _amount(-debited)


def _range(numbers: Iterable[int]) -> str:
    found = sorted(set(numbers))
    return str(found[0]) if len(found) == 1 else f"{found[0]}-{found[-1]}"


def _amount(credits_moved: int) -> str:
    return f"{credits_moved:+}" if credits_moved else "·"


def _accounts_table(accounts: Sequence[DemoAccount]) -> Table:
    table = Table(title="\nEvery balance", title_justify="left", title_style="bold", box=None, pad_edge=False)
    table.add_column("")
    for name in ("before", "taken away", "debited", "refunded", "after"):
        table.add_column(name, justify="right", header_style="dim")
    for user, before, adjusted, debited, refunded, after in accounts:
        table.add_row(user, str(before), _amount(adjusted), _amount(-debited), _amount(refunded), str(after))
    columns = list(zip(*accounts, strict=True))[1:]
    before, adjusted, debited, refunded, after = (sum(column) for column in columns)
    together = ("together", str(before), _amount(adjusted), _amount(-debited), _amount(refunded), str(after))
    table.add_row(*together, style="bold")
    return table


def _fairness(report: DemoReport) -> str:
    late = [each.outcome for each in report.results if each.job.act.late]
    waits = [each.waited for each in late if each.waited is not None] or [0.0]
    crowd = [each.outcome.waited or 0.0 for each in report.results if each.outcome.user_id == STUDIO]
    behind = [each.behind for each in late]
    return (
        f"\n[bold]Fairness[/bold]\n{len(late)} users with one job each came when {max(behind)} to {min(behind)} "
        f"jobs of the studio were waiting.\n"
        f"They waited {fmean(waits):.1f} s on average and {max(waits):.1f} s at most; "
        f"the studio's jobs {fmean(crowd):.1f} s and {max(crowd):.1f} s."
    )


def _crash(report: DemoReport) -> str:
    lost = [each.outcome for each in report.results if each.lost]
    done = sum(outcome.status == "completed" for outcome in lost)
    debited = sum(outcome.debited for outcome in lost)
    return (
        f"\n[bold]Crash[/bold]\nA second worker was killed while it worked on {len(lost)} jobs. When its leases had "
        f"expired, the first one took them back: {done} completed at their next attempt, {debited} credits debited."
    )


def _audit(violations: Sequence[str]) -> str:
    if not violations:
        return "\n[bold]Audit[/bold]\nno row: every credit is accounted for, every job ended as the state chart allows."
    return "\n[bold red]Audit[/bold red]\n" + "\n".join(violations)
