"""The database, over DATABASE_URL and DIRECT_URL."""

from __future__ import annotations

from collections.abc import Callable

import psycopg
from psycopg.conninfo import conninfo_to_dict

from generation_worker import wiring
from generation_worker.config import DatabaseAddress, Settings
from generation_worker.db.diagnosis.causes import unreachable
from generation_worker.db.diagnosis.connecting import examine_clock, examine_connection
from generation_worker.db.diagnosis.holders import judge_holders
from generation_worker.db.diagnosis.pooling import find_pooling, judge_direct, judge_pooled
from generation_worker.db.diagnosis.rights import judge_rights, our_tables
from generation_worker.db.diagnosis.schema import examine_schema
from generation_worker.db.diagnosis.server import judge_connections, judge_durability, judge_server
from generation_worker.db.diagnosis.sessions import Sessions
from generation_worker.db.diagnosis.vacuum import judge_autovacuum, judge_dead_rows
from generation_worker.db.insights import Insights
from generation_worker.doctor.check import Check, Verdicts, not_looked_at
from generation_worker.domain.finding import Verdict, fault, ok, skipped, warning
from generation_worker.ports import Signals, StoreUnavailable
from generation_worker.worker.listener import hears_itself

NAME, DIRECT = "DATABASE_URL", "DIRECT_URL"
REACHED = ("database.connection",)
DIRECT_OK = ("database.direct",)
POLLING = "jobs are found by polling alone, every POLL_INTERVAL_MS"
GIVE_DIRECT = "Put the address without the pooler into DIRECT_URL"


def database_checks(settings: Settings, sessions: Sessions | None) -> list[Check]:
    """``sessions`` are those of DATABASE_URL, None if there is none."""
    if sessions is None:
        return [not_looked_at("database", f"{NAME} is not set")]
    address = settings.require_database()
    direct = settings.database_addresses().get(DIRECT)
    insights = Insights(sessions)

    def check(name: str, look: Callable[[], Verdicts], needs: tuple[str, ...] = REACHED) -> Check:
        return Check(f"database.{name}", lambda: _asked(look, NAME), needs, prepare=our_tables)

    return [
        check("connection", lambda: examine_connection(sessions, address.label, NAME), ()),
        check("server", lambda: judge_server(insights.server())),
        check("schema", lambda: examine_schema(sessions)),
        check("rights", lambda: _rights(insights)),
        check("pooling", lambda: judge_pooled(find_pooling(address.conninfo), declared=address.pooled)),
        Check("database.direct", lambda: _direct(direct, address, sessions)),
        # Never through a pooler that was found: what listens there stays, and nobody knows whom it tells.
        Check(
            "database.listen",
            lambda: _listen(settings),
            (*REACHED, "database.pooling") if direct is None else DIRECT_OK,
        ),
        check("snapshots", lambda: judge_holders(insights.vacuum_holders())),
        check("autovacuum", lambda: judge_autovacuum(insights.server(), insights.table_health(our_tables()))),
        check("dead_rows", lambda: judge_dead_rows(insights.table_health(our_tables()))),
        check("durability", lambda: judge_durability(insights.server())),
        check("connections", lambda: judge_connections(insights.server())),
        check("clock", lambda: examine_clock(sessions)),
        *([Check("database.sleep", lambda: ok(AWAKE))] if _sleeps(address) else []),
    ]


AWAKE = (
    "Neon: a worker keeps this database awake, about 20 dollars a month on the Launch plan; "
    "generation-worker run --until-empty from a scheduler lets it sleep"
)


def _asked(look: Callable[[], Verdicts], name: str) -> Verdicts:
    try:
        return look()
    except psycopg.Error as error:
        return unreachable(error, name)


def _rights(insights: Insights) -> Verdict:
    return judge_rights(insights.table_rights(our_tables()), insights.functions(), insights.server().role)


def _direct(direct: DatabaseAddress | None, address: DatabaseAddress, sessions: Sessions) -> Verdicts:
    if direct is None:
        if address.pooled:
            return warning(f"{DIRECT} is not set and {NAME} leads through a pooler: {POLLING}", GIVE_DIRECT)
        return skipped(f"{DIRECT} is not set; {NAME} is used")
    return _asked(lambda: _examine_direct(direct, sessions), DIRECT)


def _examine_direct(direct: DatabaseAddress, sessions: Sessions) -> Verdict:
    found = judge_direct(find_pooling(direct.conninfo))
    if found.status == "fault":
        return found
    theirs = Sessions(direct.conninfo)
    try:
        there = Insights(theirs).server()
    finally:
        theirs.close()
    try:
        here = Insights(sessions).server()
    except psycopg.Error:
        return found  # database.connection says why
    if here.identity != there.identity:
        return fault(
            f"{DIRECT} ({direct.label}) is another database than {NAME}: migrations and wake-ups go to the wrong one",
            f"Put the address of the same database into {DIRECT}",
        )
    return ok(f"{direct.label}, {found.detail}")


def _listen(settings: Settings) -> Verdict:
    if not settings.listen_notify:
        return skipped("LISTEN_NOTIFY is off")
    signals = wiring.build_signals(settings)
    if signals is None:
        return warning(f"there is no direct address: {POLLING}", GIVE_DIRECT)
    return _heard(signals, NAME if settings.direct_url is None else DIRECT)


def _heard(signals: Signals, name: str) -> Verdict:
    try:
        signals.open()
        heard = hears_itself(signals)
    except StoreUnavailable as error:
        cause = error.__cause__
        return unreachable(cause, name) if isinstance(cause, psycopg.Error) else fault(str(error), GIVE_DIRECT)
    finally:
        signals.close()
    if heard:
        return ok("a message came back")
    return warning(f"LISTEN is accepted and nothing is heard, as behind a pooler: {POLLING}", GIVE_DIRECT)


def _sleeps(address: DatabaseAddress) -> bool:
    host = str(conninfo_to_dict(address.conninfo).get("host", ""))
    return host.endswith((".neon.tech", ".neon.build"))
