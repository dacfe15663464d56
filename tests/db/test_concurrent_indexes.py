"""A later migration builds its indexes while the tables are in use, and a build that was broken off is begun again."""

from __future__ import annotations

import shutil
import threading
from pathlib import Path

import psycopg
import pytest

from generation_worker.db import migrations
from generation_worker.db.migrations import MigrationBlocked
from generation_worker.db.statements import in_schema
from tests.support.database import SCHEMA, Database
from tests.support.jobs import enqueue
from tests.support.protocol import set_prices
from tests.support.waiting import wait_for_lock_waiters

INDEX = "CREATE INDEX CONCURRENTLY job_by_worker ON generation.generation_job (locked_by, kind);\n"
MIGRATION = '''"""An index on a large table."""

from generation_worker.db.migrations import require_indexes, run_sql

revision = "0901"
down_revision = "{before}"


def upgrade() -> None:
    require_indexes(__file__)


def downgrade() -> None:
    run_sql(__file__, "down")
'''
ORDINARY = '''"""Something behind it."""

revision = "0902"
down_revision = "0901"


def upgrade() -> None:
    pass


def downgrade() -> None:
    pass
'''
VALID = "SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass('job_by_worker')"


@pytest.fixture
def scripts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The migrations as they are and two later ones, of which the first builds an index."""
    place = tmp_path / "alembic"
    shutil.copytree(migrations._scripts(), place)  # pyright: ignore[reportPrivateUsage]
    (place / "versions" / "0901_index.py").write_text(MIGRATION.format(before=migrations.head()))
    (place / "versions" / "0902_more.py").write_text(ORDINARY)
    (place / "sql" / "0901_index.concurrently.sql").write_text(INDEX)
    (place / "sql" / "0901_index.down.sql").write_text("DROP INDEX generation.job_by_worker;\n")
    monkeypatch.setattr(migrations, "_scripts", lambda: place)
    return place


def is_valid(database: Database) -> bool | None:
    row = database.connect_direct().execute(VALID).fetchone()
    return None if row is None else row[0]


def test_the_index_is_built_and_the_revision_recorded(empty_database: Database, scripts: Path):
    assert migrations.upgrade(empty_database.direct_conninfo, schema=SCHEMA)[-2:] == ["0901", "0902"]
    assert is_valid(empty_database) is True
    assert migrations.upgrade(empty_database.direct_conninfo, schema=SCHEMA) == []
    migrations.downgrade(empty_database.direct_conninfo, "0001", schema=SCHEMA)
    assert is_valid(empty_database) is None


def test_jobs_are_written_while_it_is_built(empty_database: Database, scripts: Path):
    """A transaction that has written a job holds the build up, and nobody else meanwhile."""
    migrations.upgrade(empty_database.direct_conninfo, "0001", schema=SCHEMA)
    set_prices(empty_database.connect_direct())
    failures: list[BaseException] = []
    with empty_database.connect_direct(autocommit=False) as app:
        enqueue(app, cost=0)

        def migrate() -> None:
            try:
                migrations.upgrade(empty_database.direct_conninfo, schema=SCHEMA)
            except BaseException as error:  # noqa: BLE001 - shown below
                failures.append(error)

        building = threading.Thread(target=migrate)
        building.start()
        wait_for_lock_waiters(empty_database.connect_direct(), 1)
        assert migrations.current(empty_database.direct_conninfo, schema=SCHEMA) == "0001"
        enqueue(empty_database.connect_direct(), cost=0)
        app.commit()
    building.join(60)
    assert failures == []
    assert is_valid(empty_database) is True
    assert migrations.current(empty_database.direct_conninfo, schema=SCHEMA) == "0902"


def test_a_build_that_was_broken_off_is_begun_again(empty_database: Database, scripts: Path):
    direct = empty_database.direct_conninfo
    migrations.upgrade(direct, "0001", schema=SCHEMA)
    with empty_database.connect_direct(autocommit=False) as app:
        set_prices(app)
        enqueue(app, cost=0)
        impatient = empty_database.connect_direct()
        impatient.execute("SET lock_timeout = '200ms'")
        with pytest.raises(psycopg.errors.LockNotAvailable):
            impatient.execute(in_schema(INDEX, SCHEMA).encode())
        app.commit()
    assert is_valid(empty_database) is False
    assert migrations.upgrade(direct, schema=SCHEMA)[-2:] == ["0901", "0902"]
    assert is_valid(empty_database) is True


def test_alembic_by_hand_does_not_record_an_index_that_is_not_there(
    empty_database: Database, scripts: Path, monkeypatch: pytest.MonkeyPatch
):
    def build_nothing(*_arguments: object) -> None:
        pass

    monkeypatch.setattr(migrations, "_build_indexes", build_nothing)
    with pytest.raises(MigrationBlocked, match="job_by_worker has not been built: run generation-worker migrate"):
        migrations.upgrade(empty_database.direct_conninfo, schema=SCHEMA)
    assert migrations.current(empty_database.direct_conninfo, schema=SCHEMA) == "0001"
