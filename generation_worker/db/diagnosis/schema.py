"""Whether the tables are there, where this role looks for them, and as new as this version needs."""

from __future__ import annotations

import re

from generation_worker.db import migrations
from generation_worker.db.answers.server import SchemaPlace
from generation_worker.db.diagnosis.sessions import Sessions
from generation_worker.db.insights import Insights
from generation_worker.domain.finding import Verdict, fault, ok, warning

OURS = re.compile(r"\d{4}")
"""What revisions are called here; Alembic makes up hexadecimal ones for everybody else."""
MIGRATE = "Run: generation-worker migrate"


REVISION = "SELECT version_num FROM alembic_version"


def examine_schema(sessions: Sessions) -> Verdict:
    """Raises psycopg.Error, also if the role may not read the revision."""
    place = Insights(sessions).schema_place()
    revision = None
    if place.has_revision:
        with sessions.connection() as connection:
            row = connection.execute(REVISION).fetchone()
        revision = row[0] if row else None
    return judge_schema(place, revision, migrations.head())


def judge_schema(place: SchemaPlace, revision: str | None, head: str) -> Verdict:
    """``revision`` is None where there is none, ``head`` the one that this version needs."""
    if place.schema is None:
        return fault(
            f"none of the schemas in the search path ({place.search_path}) is there for {place.role}",
            f"CREATE SCHEMA one of them, or GRANT USAGE ON SCHEMA … TO {place.role}",
        )
    if revision is not None and not OURS.fullmatch(revision):
        return fault(
            f"alembic_version in schema {place.schema} belongs to another program",
            "Give generation-worker a schema of its own: CREATE SCHEMA queue, then ?schema=queue in DATABASE_URL",
        )
    if revision is None or place.job_table is None:
        return _judge_absence(place)
    if revision < head:
        return fault(f"the tables are at revision {revision}, this version needs {head}", MIGRATE)
    if revision > head:
        return warning(
            f"the tables are at revision {revision}, newer than this version knows ({head})",
            "Install the version that migrated them; while a deployment is under way all is well",
        )
    return ok(f"revision {revision}, in schema {place.schema}")


def _judge_absence(place: SchemaPlace) -> Verdict:
    if place.schemas:
        elsewhere = ", ".join(place.schemas)
        return fault(
            f"the tables are in schema {elsewhere}, and {place.role} looks in {place.search_path}",
            f"Add ?schema={place.schemas[0]} to DATABASE_URL, or behind a pooler: "
            f"ALTER ROLE {place.role} SET search_path = {place.schemas[0]}",
        )
    return fault(f"there are no tables yet in schema {place.schema}", MIGRATE)
