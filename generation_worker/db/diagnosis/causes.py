"""Why a database cannot be reached, and what helps."""

from __future__ import annotations

import re

import psycopg

from generation_worker.domain.finding import Verdict, fault

CAUSES = (
    (("password authentication failed", "no password supplied"),
     "Correct user and password in {name}; percent-encode what is special in a password (@ is %40, / is %2F)"),
    (("tenant or user not found", "enotfound"),
     "Copy host and user for {name} from Supabase's Connect page: its pooler knows users as postgres.PROJECT"),
    (("endpoint id is not specified",), "Give {name} Neon's host name as it stands in its console, not an IP address"),
    (("quota",), "The plan's allowance is used up: raise it at the provider"),
    (("endpoint is disabled", "endpoint has been disabled"), "Enable the compute in Neon's console"),
    (("no pg_hba.conf entry", "not allowed to connect", "ip not allowed"),
     "Let this machine in: pg_hba.conf or the provider's list of addresses; if it says no encryption, add "
     "sslmode=require to {name}"),
    (("could not translate host name", "failed to resolve host", "name resolution"),
     "Correct the host in {name}; a private name is known inside its own network only"),
    (("network is unreachable", "cannot assign requested address", "no route to host"),
     "The host may have an IPv6 address only, as Supabase's direct one, and this machine none: use the session "
     "pooler's host in {name}"),
    (("connection refused",), "Is the server running, and are host and port in {name} right?"),
    (("timeout expired", "timed out"),
     "A firewall or a wrong port lets nothing through; a database that was asleep may answer the second time"),
    (("unsupported startup parameter",),
     "The pooler takes no options: remove them from {name}, use ALTER ROLE … SET instead"),
    (("too many clients", "too many connections", "remaining connection slots", "no more connections allowed"),
     "Close what is idle, raise max_connections, or put a pooler's address into DATABASE_URL"),
    (("does not support ssl",), "Remove sslmode from {name}, or switch TLS on at the server"),
    (("certificate",),
     "Name the server's certificate authority with sslrootcert in {name}, and the host as the certificate has it"),
    (("starting up", "shutting down", "recovery mode", "not yet accepting"), "Wait until the server is up"),
    (("permission denied for database",), "GRANT CONNECT ON DATABASE … to the role in {name}"),
    (("role \"",), "Correct the user in {name}, or create the role"),
    (("database \"",), "Correct the name of the database in {name}, or create it"),
    (("does not exist", "permission denied"), "See database.schema and database.rights"),
    (("statement timeout",), "Ask again when the database is less busy"),
)  # fmt: skip
"""What a server, a proxy or libpq says, in lower case, and what helps. There is no code for most of it."""
HINT = re.compile(r" Is the server running[^?]*\?")
"""libpq's, which our remedy says better."""


def unreachable(error: psycopg.Error, name: str) -> Verdict:
    """Why the address in the variable ``name`` cannot be used."""
    said = HINT.sub("", " ".join(str(error).split()))
    return fault(f"{name}: {said or type(error).__name__}", remedy_for(said, name))


def remedy_for(said: str, name: str) -> str:
    lower = said.lower()
    for phrases, remedy in CAUSES:
        if any(phrase in lower for phrase in phrases):
            return remedy.format(name=name)
    return f"Check {name} and that the server runs"
