"""The report for people, and as a document for programs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from statistics import fmean
from typing import Any

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from generation_worker.demo.report import Account, Report, Told
from generation_worker.demo.scene import STUDIO, Act

INDENT = 10
WHO = "{:10}{:31}"
NUMBERS = "{:>4}{:>6}{:>11}{:>8}"
"""The lines about jobs fit into 80 columns."""
COLORS = {"completed": "green", "failed": "red", "cancelled": "magenta", "refused": "yellow"}


def print_report(console: Console, report: Report, *, show_all: bool) -> None:
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


def as_document(report: Report) -> dict[str, Any]:
    """The report as JSON may hold it."""
    return {
        "as_expected": not report.problems,
        "problems": report.problems,
        "seconds": round(report.seconds, 2),
        "jobs": [_job(each) for each in report.told],
        "refused": [{"act": act.title, "user": user, "message": message} for act, user, message in report.refused],
        "accounts": [account._asdict() for account in report.accounts],
        "audit": report.audit,
    }


def _job(told: Told) -> dict[str, Any]:
    outcome = told.outcome._asdict()
    outcome["image"] = outcome["image"] and outcome["image"]["key"]
    why = told.member.act.why
    about = {"act": told.member.act.title, "why": why, "lost_by_a_worker": told.lost, "problems": told.problems}
    return {**about, **outcome, "id": str(outcome["id"])}


# What became of the jobs ---------------------------------------------------------------------------------------------


def _print_jobs(console: Console, report: Report, *, show_all: bool) -> None:
    """A line for each act, or with ``show_all`` for each of its jobs, and below it why they ended so."""
    console.print("\n[bold]What became of each job[/bold]")
    console.print(Text(" " * 51 + NUMBERS.format("jobs", "tried", "calls/paid", "credits"), "dim"))
    for act, group in groupby(report.told, key=lambda each: each.member.act):
        told = list(group)
        if show_all:
            for each in told:
                _print_line(console, f"{each.outcome.id} ", [each])
        else:
            _print_line(console, act.title, told)
        _print_why(console, (f"{act.title}: " if show_all else "") + _why(act, told))
    for act, user, message in report.refused:
        console.print(Text.assemble(WHO.format(user, act.title), ("refused", COLORS["refused"])))
        _print_why(console, message)


def _print_line(console: Console, label: str, told: Sequence[Told]) -> None:
    outcomes = [each.outcome for each in told]
    users = list(dict.fromkeys(each.user_id for each in outcomes))
    numbers = (
        str(len(told)),
        _range(each.attempt for each in outcomes),
        f"{sum(each.calls for each in outcomes)} / {sum(each.paid for each in outcomes)}",
        _credits(sum(each.debited for each in outcomes), sum(each.refunded for each in outcomes)),
    )
    who = users[0] if len(users) == 1 else f"{users[0]}…{users[-1]}"
    console.print(Text.assemble(WHO.format(who, label), _ending(told), NUMBERS.format(*numbers)), soft_wrap=True)


def _print_why(console: Console, why: str) -> None:
    console.print(Padding(Text(why, "dim"), (0, 0, 0, INDENT), expand=False))


def _why(act: Act, told: Sequence[Told]) -> str:
    """The act's own words, or what the job itself says of its end."""
    outcomes = [each.outcome for each in told]
    said = next((f"{each.error_code}: {each.error_message}" for each in outcomes if each.error_message), None)
    return said or act.why


def _ending(told: Sequence[Told]) -> Text:
    statuses = dict.fromkeys(each.outcome.status for each in told)
    text = Text(", ").join(Text(status, COLORS.get(status, "yellow")) for status in statuses)
    if any(each.problems for each in told):
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


# Money and fairness --------------------------------------------------------------------------------------------------


def _accounts_table(accounts: Sequence[Account]) -> Table:
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


def _fairness(report: Report) -> str:
    late = [each.outcome for each in report.told if each.member.act.late]
    waits = [each.waited for each in late if each.waited is not None] or [0.0]
    crowd = [each.outcome.waited or 0.0 for each in report.told if each.outcome.user_id == STUDIO]
    behind = [each.behind for each in late]
    return (
        f"\n[bold]Fairness[/bold]\n{len(late)} users with one job each came when {max(behind)} to {min(behind)} "
        f"jobs of the studio were waiting.\n"
        f"They waited {fmean(waits):.1f} s on average and {max(waits):.1f} s at most; "
        f"the studio's jobs {fmean(crowd):.1f} s and {max(crowd):.1f} s."
    )


def _crash(report: Report) -> str:
    lost = [each.outcome for each in report.told if each.lost]
    done = sum(outcome.status == "completed" for outcome in lost)
    debited = sum(outcome.debited for outcome in lost)
    return (
        f"\n[bold]Crash[/bold]\nA second worker was killed with {len(lost)} jobs in its hands. When its leases had run "
        f"out, the first one took them back: {done} completed at their next attempt, {debited} credits debited."
    )


def _audit(violations: Sequence[str]) -> str:
    if not violations:
        return "\n[bold]Audit[/bold]\nno row: every credit is accounted for, every job ended as the state chart allows."
    return "\n[bold red]Audit[/bold red]\n" + "\n".join(violations)
