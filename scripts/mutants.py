"""Takes one guard out at a time and sees to it that a test fails: `python scripts/mutants.py [part of a file's name]`.

Each mutant is the project as it is but for one place, in a directory of its own. One that no test notices is a guard
without a test, or one that is not needed.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
PARTS = ("generation_worker", "tests", "alembic", "sql", "scripts", "pyproject.toml")
QUERIES = "generation_worker/db/queries"
SCHEMA = "alembic/sql/0001_generation_job.up.sql"
SETTLEMENT = "generation_worker/domain/settlement.py"
FUNCTIONS = "alembic/sql/0002_enqueue_and_cancel.up.sql"


PATIENCE = 60.0
"""Seconds after which tests that wait for each other for ever have noticed enough."""


class Mutant(NamedTuple):
    """`guard` stands once in `file`; with `instead` in its place, a test in test_<tests>.py has to fail."""

    file: str
    guard: str
    instead: str
    tests: str

    def find_tests(self) -> str:
        """The one file of that name. Raises ValueError."""
        [found] = [file for ring in ("db", "domain") for file in ROOT.glob(f"tests/{ring}/test_{self.tests}.py")]
        return str(found.relative_to(ROOT))


MUTANTS = [
    # the fence
    Mutant(f"{QUERIES}/settle_attempts.sql", "e.id = j.id AND e.token = j.lease_token", "e.id = j.id",
           "settle_attempts"),
    Mutant(f"{QUERIES}/renew_leases.sql", "mine.id = j.id AND mine.token = j.lease_token", "mine.id = j.id",
           "renew_leases"),
    Mutant(f"{QUERIES}/begin_call.sql", "AND lease_token = %(token)s AND status", "AND status", "begin_call"),
    Mutant(f"{QUERIES}/reclaim_jobs.sql", "SET lease_token = gen_random_uuid(), lease", "SET lease", "reclaim_jobs"),
    Mutant(f"{QUERIES}/settle_attempts.sql", "e.status ELSE e.cancel_status END", "e.status ELSE e.status END",
           "settle_attempts"),
    Mutant(f"{QUERIES}/settle_attempts.sql", " AND a.outcome = e.outcome", "", "settle_attempts"),
    Mutant(f"{QUERIES}/begin_call.sql", "WHERE NOT job.cancel_requested AND", "WHERE", "begin_call"),
    Mutant(f"{QUERIES}/renew_leases.sql",
           "least(j.locked_at + make_interval(secs => %(timeout)s), j.deadline_at) + make_interval(secs => %(grace)s)",
           "'infinity'", "renew_leases"),
    # races
    Mutant(f"{QUERIES}/claim_jobs.sql", "     LIMIT %(slots)s\n       FOR NO KEY UPDATE SKIP LOCKED) job",
           "     LIMIT %(slots)s) job", "races"),
    Mutant(f"{QUERIES}/reclaim_jobs.sql", "     FOR NO KEY UPDATE SKIP LOCKED\n", "", "races"),
    Mutant(f"{QUERIES}/promote_jobs.sql", "     FOR NO KEY UPDATE SKIP LOCKED\n", "", "races"),
    Mutant(f"{QUERIES}/settle_attempts.sql", "(SELECT count(*) FROM account)", "(SELECT 0)", "races"),
    Mutant(f"{QUERIES}/expire_jobs.sql", "(SELECT count(*) FROM account)", "(SELECT 0)", "races"),
    Mutant(f"{QUERIES}/expire_jobs.sql", "     FOR NO KEY UPDATE SKIP LOCKED\n", "", "races"),
    Mutant(f"{QUERIES}/claim_jobs.sql", "SET balance = t.balance", "SET balance = a.balance", "races"),
    Mutant(f"{QUERIES}/claim_jobs.sql", "   ORDER BY user_id FOR NO KEY UPDATE\n", "\n", "races"),
    # order
    Mutant(f"{QUERIES}/claim_jobs.sql", "     ORDER BY j.priority, j.position, j.id\n     LIMIT",
           "     ORDER BY j.id\n     LIMIT", "claim_jobs"),
    Mutant(f"{QUERIES}/claim_jobs.sql",
           "       AND (j.priority, j.position, j.id) >= (lane.priority, lane.position, lane.id)\n", "", "claim_jobs"),
    Mutant(f"{QUERIES}/claim_jobs.sql", "ORDER BY priority, position, id LIMIT %(slots)s",
           "ORDER BY priority, position, id", "claim_jobs"),
    Mutant(f"{QUERIES}/promote_jobs.sql", "CASE WHEN started_at IS NOT NULL THEN due.position ELSE",
           "CASE WHEN false THEN due.position ELSE", "promote_jobs"),
    # no row keeps the others from being claimed
    Mutant(f"{QUERIES}/claim_jobs.sql", "greatest(coalesce(j.max_attempts, %(max_attempts)s), j.attempt + 1)",
           "coalesce(j.max_attempts, %(max_attempts)s)", "claim_jobs"),
    # money
    Mutant(f"{QUERIES}/claim_jobs.sql", "CASE WHEN j.debited THEN 0 ELSE j.cost END AS owed", "j.cost AS owed",
           "claim_jobs"),
    Mutant(f"{QUERIES}/claim_jobs.sql", "SELECT *, total <= balance AS paid", "SELECT *, true AS paid", "claim_jobs"),
    Mutant(f"{QUERIES}/claim_jobs.sql", "r.too_much AND NOT r.paid", "NOT r.paid", "claim_jobs"),
    Mutant(f"{QUERIES}/begin_call.sql", "AND past.paid < %(max_paid_calls)s", "", "begin_call"),
    Mutant(f"{QUERIES}/begin_call.sql", "spent IS DISTINCT FROM false", "spent", "begin_call"),
    Mutant(SCHEMA, "WHEN (NEW.debited AND NEW.status IN ('failed', 'cancelled'))",
           "WHEN (NEW.debited AND NEW.status IN ('failed'))", "refund_trigger"),
    Mutant(SCHEMA, "CREATE TRIGGER append_only BEFORE UPDATE OR DELETE", "CREATE TRIGGER append_only BEFORE DELETE",
           "credits"),
    Mutant(SCHEMA, "CREATE UNIQUE INDEX credit_entry_once_a_job", "CREATE INDEX credit_entry_once_a_job",
           "constraints"),
    Mutant(SCHEMA, "WHEN 'completed' THEN false\n    WHEN 'failed'", "WHEN 'completed' THEN true\n    WHEN 'failed'",
           "state_chart"),
    Mutant(FUNCTIONS, "WHERE w.owed > coalesce(a.balance, 0) LIMIT 1", "WHERE false LIMIT 1", "enqueue"),
    Mutant(FUNCTIONS, "WHERE j.request_hash <> p.request_hash LIMIT 1", "WHERE false LIMIT 1", "enqueue"),
    # decisions
    Mutant(SETTLEMENT, "if not error.retry or job.attempt >= job.max_attempts:", "if not error.retry:", "settlement"),
    Mutant(SETTLEMENT, "-1 if self.status in (\"pending\", \"rate_limited\") else 0", "0", "settlement"),
]  # fmt: skip


def main(wanted: str = "") -> int:
    chosen = [mutant for mutant in MUTANTS if wanted in mutant.file]
    with ThreadPoolExecutor(os.cpu_count()) as threads:
        survivors = [mutant for mutant, dead in zip(chosen, threads.map(_dies, chosen), strict=True) if not dead]
    print(f"{len(chosen)} mutants, {len(survivors)} survived.")
    for mutant in survivors:
        print(f"Nothing in {mutant.find_tests()} noticed: {mutant.file}: {mutant.guard!r} became {mutant.instead!r}")
    return 1 if survivors else 0


def _dies(mutant: Mutant) -> bool:
    with tempfile.TemporaryDirectory(prefix="mutant-") as name:
        place = Path(name)
        for part in PARTS:
            copy = shutil.copytree if (ROOT / part).is_dir() else shutil.copy
            copy(ROOT / part, place / part)
        file = place / mutant.file
        file.write_text(file.read_text().replace(mutant.guard, mutant.instead))
        command = [sys.executable, "-m", "pytest", "-qx", "-p", "no:cacheprovider", mutant.find_tests()]
        verdict = _verdict(command, place)
    print(f"{mutant.file}: {mutant.guard.strip()[:50]!r}: {verdict or 'SURVIVED'}", flush=True)
    return verdict is not None


def _verdict(command: list[str], place: Path) -> str | None:
    """The test that noticed, or None."""
    environment = {
        **os.environ,
        "PYTHONPATH": str(place),
        "PYTHONDONTWRITEBYTECODE": "1",
        "PGOPTIONS": "-c lock_timeout=5s",  # a session that waits for the very test that started it becomes a failure
    }
    try:
        done = subprocess.run(
            command,
            cwd=place,
            env=environment,
            check=False,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=PATIENCE,
        )
    except subprocess.TimeoutExpired:
        return "the tests never ended"
    if done.returncode == 0:
        return None
    found = re.search(r"(?m)^(?:FAILED|ERROR) \S+::(\S+)", done.stdout)
    if done.returncode != 1 or found is None:
        raise RuntimeError(f"The tests of a mutant could not run:\n{done.stdout[-4000:]}")
    return found[1]


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
