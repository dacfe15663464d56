"""The sample of `doctor`'s output is what it says today, but for numbers."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import psycopg

from generation_worker.db import migrations
from generation_worker.db.embedded import EmbeddedPostgres
from tests.docs.documents import ROOT, blocks
from tests.support.processes import clean_environment

ONLY = "settings,database,storage,providers,fleet"


def test_the_sample_is_what_it_says(tmp_path: Path) -> None:
    [sample] = [block.text for block in blocks("docs/operating.md") if "database.connection" in block.text]
    said = doctor(tmp_path)
    assert shape(sample) == shape(said), said


def doctor(directory: Path) -> str:
    """What it says of a database that an older version has migrated."""
    with EmbeddedPostgres(directory / "database") as server:
        address = server.conninfo()
        migrations.upgrade(address)
        with psycopg.connect(address) as connection:
            connection.execute("UPDATE generation.generation_worker_version SET version_num = '0000'")
        done = subprocess.run(
            [sys.executable, "-m", "generation_worker", "doctor", "--only", ONLY],
            check=False,
            capture_output=True,
            text=True,
            cwd=directory,
            env=clean_environment(DATABASE_URL=address, STORAGE_DIR=str(directory / "images"), PYTHONPATH=str(ROOT)),
        )
    assert (done.returncode, done.stderr) == (1, "")
    return done.stdout


def shape(text: str) -> str:
    """Without numbers, and the blanks that align."""
    return re.sub(r"[\d.,]*\d(m?s\b)?", "0", re.sub(r" +", " ", text)).strip()
