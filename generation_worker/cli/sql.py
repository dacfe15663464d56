"""``psql`` and ``sql``: the database, and the statements that run in it, by hand."""

import os
import re
import shutil
import sys
from typing import Annotated

import typer
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from generation_worker.cli.output import print_json
from generation_worker.cli.shell import FAILED, WRONG, CommandFailed, Json, load
from generation_worker.db.statements import quoted, statement_sources

PARAMETER = re.compile(r"%\((\w+)\)s")


def psql(context: typer.Context) -> None:
    """Open psql on the database (over DIRECT_URL, if set).

    Names without a schema are ours first. All arguments go to psql: generation-worker psql -f sql/pending.sql
    """
    settings = load()
    address = settings.direct_database() or settings.require_database()
    program = shutil.which("psql")
    if program is None:
        raise CommandFailed("no_psql", "psql is not installed.", "Install PostgreSQL's client programs.", FAILED)
    params = conninfo_to_dict(address.conninfo)
    environment = dict(os.environ)
    if password := params.pop("password", None):
        environment["PGPASSWORD"] = str(password)  # arguments can be seen by everybody on the machine
    path = f"search_path={quoted(address.schema)},public"
    if address.pooled:
        sys.stderr.write(f"Notice: a pooler takes no search path; begin with: SET {path.replace('=', ' = ', 1)};\n")
    else:
        params["options"] = f"{params.get('options', '')} -c {path}".strip()
    conninfo = make_conninfo("", **params)
    os.execve(program, [program, "-d", conninfo, *context.args], environment)  # noqa: S606 - psql takes the terminal


def sql(
    name: Annotated[str | None, typer.Argument(metavar="NAME", help="The statement's name.")] = None,
    as_json: Json = False,
) -> None:
    """Print a statement as psql runs it, with its parameters as variables; without NAME, the names of all."""
    statements = statement_sources(load().database_schema)
    if name is None:
        _list(sorted(statements), as_json=as_json)
        return
    if name not in statements:
        raise CommandFailed("unknown_statement", f"There is no statement {name}.", "See generation-worker sql", WRONG)
    text = for_psql(statements[name])
    if as_json:
        print_json({"name": name, "parameters": parameters(statements[name]), "statement": text})
        return
    typer.echo(text)


def for_psql(statement: str) -> str:
    """The statement with psql's variables: set them first, as in psql -v user=ada."""
    return PARAMETER.sub(r":'\1'", statement.rstrip()).replace("%%", "%") + ";"


def parameters(statement: str) -> list[str]:
    """The names of its parameters, in the order in which they appear."""
    return list(dict.fromkeys(PARAMETER.findall(statement)))


def _list(names: list[str], *, as_json: bool) -> None:
    if as_json:
        print_json(names)
        return
    for each in names:
        typer.echo(each)
