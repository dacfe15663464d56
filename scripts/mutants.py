"""Removes one guard at a time and checks that a test fails: `python scripts/mutants.py [part of a file's name]`.

Each mutant is a copy of the project with one change, in its own directory. If no test fails, the guard has no test or
is not needed.
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
QUERIES = "generation_worker/db/sql/protocol"
SCHEMA = "alembic/sql/0001_baseline.up.sql"
SETTLEMENT = "generation_worker/domain/settlement.py"
CLAIM, LIMITED, BEGIN, FINISH, MOVE, HOLD, FREE = (
    f"{QUERIES}/{name}.sql"
    for name in (
        "claim_jobs", "claim_limited_jobs", "begin_call", "finish_call", "move_jobs", "park_paused_jobs", "unpark_jobs"
    )
)  # fmt: skip
RENEW, RETURN, REGISTER = (f"{QUERIES}/{name}.sql" for name in ("renew_permit", "return_permit", "register_worker"))
ADDRESSES = "generation_worker/domain/urls.py"
URLS = "generation_worker/domain/urls.py"
FETCH = "generation_worker/fetch"
TAKE, RECORD, BATCHES = (f"{QUERIES}/{name}.sql" for name in ("claim_deliveries", "record_delivery", "finish_batches"))
HOOK = "generation_worker/domain/webhook.py"
FLEET_SQL = "generation_worker/db/sql/fleet.sql"
JOBS, BULK, FLEET, CREDITS, TOKENS = (
    f"generation_worker/db/{name}.py" for name in ("jobs", "bulk", "fleet", "credits", "access")
)
TOUCH = f"{QUERIES}/touch_worker.sql"
CHOSEN = "generation_worker/db/sql/bulk.sql"
JOB_SQL = "generation_worker/db/sql/jobs.sql"
WEB = "generation_worker/web"
AUDITED = "cli/audit_of_commands"


TIMEOUT = 60.0
"""Seconds. Tests of a mutant that take longer, because they wait for each other, count as failed."""


class Mutant(NamedTuple):
    """`guard` stands once in `file`; with `instead` in its place, a test in test_<tests>.py has to fail.

    `tests` names the ring too, as in web/control, if it is none of db, domain and fetch.
    """

    file: str
    guard: str
    instead: str
    tests: str

    def find_tests(self) -> str:
        """The one file of that name. Raises ValueError."""
        ring, _, name = self.tests.rpartition("/")
        rings = [ring] if ring else ["db", "domain", "fetch"]
        [found] = [file for ring in rings for file in ROOT.glob(f"tests/{ring}/test_{name}.py")]
        return str(found.relative_to(ROOT))


MUTANTS = [
    # balances that run low
    Mutant(SCHEMA, " AND a.balance_after - a.amount >= low.threshold", "",
           "webhooks_outbox"),
    Mutant(SCHEMA, " AND (e.user_id IS NULL OR e.user_id = a.user_id)", "",
           "webhooks_outbox"),
    Mutant(SCHEMA, "   WHERE e.disabled_at IS NULL;", "   WHERE true;",
           "webhooks_outbox"),
    # rows that are written by hand
    Mutant(SCHEMA, "octet_length(NEW.payload::text) > 262144", "false", "unclaimable"),
    Mutant(SCHEMA, "least(j.position, timestamptz '9999-01-01 00:00+00')", "j.position", "unclaimable"),
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
    Mutant(f"{QUERIES}/begin_call.sql", "WHERE NOT cancel_requested AND", "WHERE", "begin_call"),
    Mutant(f"{QUERIES}/renew_leases.sql",
           "least(j.locked_at + make_interval(secs => %(timeout)s), j.deadline_at) + make_interval(secs => %(grace)s)",
           "'infinity'", "renew_leases"),
    # races
    Mutant(CLAIM, "     LIMIT %(slots)s\n       FOR NO KEY UPDATE SKIP LOCKED) job", "     LIMIT %(slots)s\n) job", "races"),
    Mutant(f"{QUERIES}/reclaim_jobs.sql", "     FOR NO KEY UPDATE SKIP LOCKED\n", "", "races"),
    Mutant(f"{QUERIES}/promote_jobs.sql", "     FOR NO KEY UPDATE SKIP LOCKED\n", "", "races"),
    Mutant(f"{QUERIES}/settle_attempts.sql", "(SELECT count(*) FROM account)", "(SELECT 0)", "races"),
    Mutant(f"{QUERIES}/expire_jobs.sql", "(SELECT count(*) FROM account)", "(SELECT 0)", "races"),
    Mutant(f"{QUERIES}/expire_jobs.sql", "     FOR NO KEY UPDATE SKIP LOCKED\n", "", "races"),
    Mutant(f"{QUERIES}/claim_jobs.sql", "SET balance = t.balance", "SET balance = a.balance", "races"),
    Mutant(f"{QUERIES}/claim_jobs.sql", "   ORDER BY user_id FOR NO KEY UPDATE\n", "\n", "races"),
    # order
    Mutant(f"{QUERIES}/claim_jobs.sql", "     ORDER BY j.priority, j.position, j.id\n     LIMIT", "     ORDER BY j.id\n     LIMIT", "claim_jobs"),
    Mutant(f"{QUERIES}/claim_jobs.sql",
           "       AND (j.priority, j.position, j.id) >= (lane.priority, lane.position, lane.id)\n     ORDER",
           "     ORDER", "claim_jobs"),
    Mutant(f"{QUERIES}/claim_jobs.sql", "ORDER BY priority, position, id LIMIT %(slots)s",
           "ORDER BY priority, position, id", "claim_jobs"),
    Mutant(f"{QUERIES}/promote_jobs.sql", "CASE WHEN started_at IS NOT NULL THEN due.position ELSE",
           "CASE WHEN false THEN due.position ELSE", "promote_jobs"),
    # no row keeps the others from being claimed
    Mutant(f"{QUERIES}/claim_jobs.sql", "greatest(coalesce(j.max_attempts, %(max_attempts)s), j.attempt + 1)",
           "coalesce(j.max_attempts, %(max_attempts)s)", "claim_jobs"),
    # money
    Mutant(CLAIM, "CASE WHEN debited THEN 0 ELSE cost END AS owed", "cost AS owed", "claim_jobs"),
    Mutant(f"{QUERIES}/claim_jobs.sql", "SELECT *, total <= balance AS paid", "SELECT *, true AS paid", "claim_jobs"),
    Mutant(f"{QUERIES}/claim_jobs.sql", "r.too_much AND NOT r.paid", "NOT r.paid", "claim_jobs"),
    Mutant(f"{QUERIES}/begin_call.sql", "AND past.paid < %(max_paid_calls)s", "", "begin_call"),
    Mutant(f"{QUERIES}/begin_call.sql", "spent IS DISTINCT FROM false", "spent", "begin_call"),
    Mutant(SCHEMA, "WHEN (NEW.debited AND NEW.status IN ('failed', 'cancelled'))",
           "WHEN (NEW.debited AND NEW.status IN ('failed'))", "refund_trigger"),
    Mutant(SCHEMA, "BEFORE UPDATE OR DELETE ON generation.credit_entry", "BEFORE DELETE ON generation.credit_entry",
           "credits"),
    Mutant(SCHEMA, "CREATE UNIQUE INDEX credit_entry_once_a_job", "CREATE INDEX credit_entry_once_a_job",
           "constraints"),
    Mutant(SCHEMA, "WHEN 'completed' THEN false\n    WHEN 'failed'", "WHEN 'completed' THEN true\n    WHEN 'failed'",
           "state_chart"),
    Mutant(SCHEMA, "WHERE w.owed > coalesce(a.balance, 0) LIMIT 1", "WHERE false LIMIT 1", "enqueue"),
    Mutant(SCHEMA, "WHERE j.request_hash <> p.request_hash LIMIT 1", "WHERE false LIMIT 1", "enqueue"),
    # the gate
    Mutant(LIMITED, "greatest(calls_per_minute - generation.gate_sum(window_now), 0)", "calls_per_minute", "gate"),
    Mutant(LIMITED, "CASE WHEN closed_for_seconds > 0 THEN 0\n", "CASE WHEN false THEN 0\n", "gate"),
    Mutant(LIMITED, "CASE breaker WHEN 'open' THEN 1 ELSE", "CASE breaker WHEN 'ajar' THEN 1 ELSE", "gate"),
    Mutant(LIMITED, "CASE g.breaker WHEN 'open' THEN r.now + interval '2 minutes' END", "g.open_until", "gate"),
    Mutant(LIMITED, "WHERE g.key_label = ANY (%(keys)s::text[])\n     AND EXISTS", "WHERE EXISTS", "gate"),
    Mutant(BEGIN, "AND NOT EXISTS (SELECT FROM verdict WHERE wait IS NOT NULL)", "", "gate"),
    Mutant(BEGIN, "(NOT c.has_permit OR c.decisecond > %(permit)s::bigint + 1)", "false", "gate"),
    Mutant(BEGIN, "NOT has_permit AND generation.gate_sum(window_now) >= calls_per_minute", "false", "gate"),
    Mutant(BEGIN, "WHEN limited_for > 0 THEN limited_for", "WHEN false THEN 1", "gate"),
    Mutant(RENEW, "WHERE g.key_label = j.key_label AND j.wait IS NULL", "WHERE false", "gate"),
    Mutant(FINISH, "greatest(t.closed_until,", "greatest(", "gate"),
    Mutant(FINISH, "is_probe AND %(verdict)s IN ('failed', 'refused')", "%(verdict)s IN ('failed', 'refused')", "gate"),
    Mutant(FINISH, "AND (finished_at IS NULL OR resumable)", "", "gate"),
    Mutant(BEGIN, "open_for > 0 AND fallback_provider IS NOT NULL", "fallback_provider IS NOT NULL", "gate_ways"),
    *(
        Mutant(file, guard, instead, "gate_ways")
        for file in (BEGIN, RENEW)
        for guard, instead in (
            ("AND o.breaker = 'closed'", ""),
            ("AND w.seen_at > t.now - interval '2 minutes'))", "))"),
        )
    ),
    Mutant(FINISH, "AND w.seen_at > t.now - interval '2 minutes') AS", ") AS", "gate_ways"),
    Mutant(BEGIN, "CASE WHEN c.has_permit THEN %(permit)s::bigint END", "%(permit)s::bigint", "gate_ways"),
    Mutant(RENEW, "WHERE g.key_label = j.key_label AND j.wait IS NULL", "WHERE g.key_label = j.key_label", "gate"),
    Mutant(RENEW, "AND c.number = %(number)s AND j.wait IS NULL", "AND c.number = %(number)s", "gate"),
    Mutant(RENEW, "CASE WHEN j.has_permit THEN %(permit)s::bigint END", "%(permit)s::bigint", "gate_ways"),
    Mutant(FINISH, "c.breaker = 'open' AND EXISTS (", "EXISTS (", "gate_ways"),
    Mutant(FINISH, "WHEN t.closes_until > coalesce(t.closed_until, '-infinity')", "WHEN true", "gate_ways"),
    Mutant(LIMITED, "kept.key_label <> ALL (%(keys)s::text[]) AND", "", "gate_ways"),
    Mutant(LIMITED, "AND (EXISTS (SELECT FROM generation.staged_image s WHERE s.job_id = j.id)", "AND (false", "gate_ways"),
    Mutant(RETURN, "AND lease_token = %(token)s)", "AND false)", "gate_ways"),
    Mutant(RETURN, "gate.place > 0 AND gate.used[gate.place::int] > 0", "gate.place > 0", "gate_ways"),
    Mutant(RETURN, "CASE WHEN g.probe_job = %(job_id)s::uuid", "CASE WHEN true", "gate_ways"),
    Mutant(REGISTER, "SET head = greatest(provider_gate.head, excluded.head),\n", "SET\n", "gate_ways"),
    Mutant(MOVE, "g.breaker = 'open' AND g.open_until > statement_timestamp()", "g.breaker = 'open'", "gate"),
    Mutant(MOVE, "EXISTS (SELECT FROM alive WHERE j.fallback_provider = ANY (alive.providers))", "true", "gate"),
    Mutant(SCHEMA, "WHEN head <= old_head THEN used\n", "WHEN false THEN used\n", "gate"),
    # pauses
    Mutant(CLAIM, "name = 'paused' OR name = 'paused.provider.' || lane.provider", "name = 'paused'", "fleet_pauses"),
    Mutant(CLAIM, "name = 'paused' OR name = 'paused.provider.' || lane.provider",
           "name = 'paused.provider.' || lane.provider", "fleet_pauses"),
    Mutant(CLAIM, "NOT j.parked\n       AND NOT ARRAY['paused.user.' || j.user_id, 'paused.kind.' || j.kind] &&",
           "NOT j.parked\n       AND NOT ARRAY['paused.user.' || j.user_id] &&", "fleet_pauses"),
    Mutant(CLAIM, "NOT j.parked\n       AND NOT ARRAY['paused.user.' || j.user_id, 'paused.kind.' || j.kind] &&",
           "NOT j.parked\n       AND NOT ARRAY['paused.kind.' || j.kind] &&", "fleet_pauses"),
    Mutant(LIMITED, "AND j.has_answer\n       AND NOT ARRAY['paused.user.' || j.user_id, 'paused.kind.' || j.kind] &&",
           "AND j.has_answer\n       AND NOT ARRAY['paused.kind.' || j.kind] &&", "fleet_pauses"),
    Mutant(HOLD, " ORDER BY name FOR SHARE", "", "fleet_pauses"),
    # control of a running fleet
    *(
        Mutant(file, "SELECT label, provider, generation.gate_limit(label, provider, calls), calls",
               "SELECT label, provider, calls, calls", "fleet_settings")
        for file in (REGISTER, TOUCH)
    ),
    Mutant(TOUCH, "FROM limit_now n WHERE g.key_label = n.key_label", "FROM limit_now n WHERE false", "fleet_settings"),
    Mutant(TOUCH, "'paused', 'woken')", "'paused')", "fleet_wake"),
    Mutant(FLEET_SQL, "SELECT pg_notify('generation.signals', 'wake')", "SELECT 1", "fleet_wake"),
    Mutant(FLEET_SQL, "DO UPDATE SET updated_at = clock_timestamp()", "DO NOTHING", "fleet_wake"),
    Mutant(FLEET, "if problem := problem_with(name, value):", "if problem := None:", "fleet_settings"),
    Mutant(FLEET, "        _check_limited_key(together, name)\n", "", "fleet_settings"),
    Mutant(FLEET_SQL, "AND g.calls_per_minute <> gate.calls", "", "fleet_settings"),
    Mutant(FLEET, "with queries.transaction() as together:\n        for name",
           "together = queries\n    if True:\n        for name", "web/api/control_config"),
    Mutant(JOB_SQL, "status IN ('pending', 'scheduled', 'rate_limited') FOR", "true FOR", "jobs_changes"),
    Mutant(JOB_SQL, "priority = CASE WHEN behind THEN front_priority ELSE j.priority END", "priority = j.priority",
           "jobs_changes"),
    Mutant(JOB_SQL, "status IN ('scheduled', 'rate_limited', 'processing')", "true", "jobs_changes"),
    Mutant(BULK, "    if chosen == Filter():", "    if False:", "bulk"),
    Mutant(BULK, "(default + on_request) if chosen.worker is not None else default", "default + on_request",
           "bulk"),
    Mutant(BULK, "    if chosen.status not in default + on_request:", "    if False:", "bulk"),
    Mutant(BULK, "except (RequestRefused, InvalidPayload) as error:", "except InvalidPayload as error:", "bulk"),
    *(
        Mutant(CHOSEN, f"\n{indent}{guard}", f"\n{indent}{instead}", "bulk")
        for indent in (" " * 7, " " * 28)  # of the statement that counts, and of the one that chooses
        for guard, instead in (
            ("AND (%(worker)s::text IS NULL OR j.locked_by = %(worker)s)", ""),
            ("    WHEN 'replay' THEN NOT EXISTS (SELECT FROM generation.generation_job r WHERE r.retry_of = j.id)",
             "    WHEN 'replay' THEN true"),
        )
    ),
    *(
        Mutant(FLEET, f'record_change(together, by, "{action}"', f'(lambda *_, **__: 0)(together, by, "{action}"', AUDITED)
        for action in ("setting.set", "setting.unset", "pause", "resume")
    ),
    *(
        Mutant(JOBS, f'record_change(together, by, "{action}"', f'(lambda *_, **__: 0)(together, by, "{action}"',
               AUDITED)
        for action in ("job.cancel", "job.replay", "job.run_next", "job.release")
    ),
    *(
        Mutant(TOKENS, f'record_change(transaction, by, "{action}"',
               f'(lambda *_, **__: 0)(transaction, by, "{action}"', AUDITED)
        for action in ("token.create", "token.revoke")
    ),
    Mutant(CREDITS, "if by.actor is not None and not posting.duplicate:", "if False:", AUDITED),
    Mutant(f"{WEB}/api/control.py", 'needs("operate", whole_fleet=True)', 'needs("operate")', "web/api/control_statuses"),
    Mutant(f"{WEB}/api/control.py", 'needs("operate", whole_fleet=True)', 'needs("enqueue", whole_fleet=True)',
           "web/api/control_statuses"),
    Mutant(f"{WEB}/api/control.py", 'needs("admin", whole_fleet=True)', 'needs("operate", whole_fleet=True)',
           "web/api/control_statuses"),
    Mutant(f"{WEB}/api/control.py", 'needs("admin", whole_fleet=True)', 'needs("admin")', "web/api/control_statuses"),
    Mutant(FREE, "AND 'paused.user.' || owner.user_id NOT IN (SELECT name FROM paused)", "", "fleet_pauses"),
    Mutant(FREE, "AND 'paused.kind.' || owner.kind NOT IN (SELECT name FROM paused)", "", "fleet_pauses"),
    Mutant(MOVE, "name = 'paused.provider.' || j.fallback_provider", "name = ''", "fleet_pauses"),
    # the audit trail
    Mutant(SCHEMA, "BEFORE UPDATE OR DELETE ON generation.audit_event", "BEFORE DELETE ON generation.audit_event",
           "audit_trail"),
    Mutant(SCHEMA, "BEFORE TRUNCATE ON generation.audit_event", "BEFORE TRUNCATE ON generation.worker_process",
           "audit_trail"),
    # decisions
    Mutant(SETTLEMENT, "if not error.retry or job.attempt >= job.max_attempts:", "if not error.retry:", "settlement"),
    Mutant(SETTLEMENT, "-1 if self.status in (\"pending\", \"rate_limited\") else 0", "0", "settlement"),
    # hosts that users name
    Mutant(ADDRESSES, 'if "%" in text:', "if False:", "addresses"),
    Mutant(ADDRESSES, "in _ISATAP else None", "in () else None", "addresses"),
    Mutant(ADDRESSES, "return _in_v4(last)\n    if refused", "return None\n    if refused", "addresses"),
    Mutant(ADDRESSES, "if address not in _PUBLIC_V6:", "if False:", "addresses"),
    Mutant(URLS, "if not private:\n        _check_public(host, port)", "if False:\n        pass", "urls"),
    Mutant(URLS, 'if "@" in found["authority"]:', "if False:", "urls"),
    Mutant(URLS, "if not text.isprintable():", "if False:", "urls"),
    Mutant(URLS, "if not _NUMBER.fullmatch(labels[-1]):", "if True:", "urls"),
    Mutant(f"{FETCH}/connector.py", "if not private and (belongs_to", "if False and (belongs_to", "connector"),
    Mutant(f"{FETCH}/connector.py", "next(filter(None, map(why_not_public, addresses)), None)",
           "why_not_public(addresses[0])", "connector"),
    Mutant(f"{FETCH}/connector.py", "connect(addresses, url.port",
           "connect(resolve_addresses(url.host, self._resolve, watch, private=True), url.port", "connector"),
    Mutant(f"{FETCH}/connector.py", "server_hostname=host", 'server_hostname="images.example.com"', "connector"),
    Mutant(f"{FETCH}/connector.py", "suppress_ragged_eofs=False", "suppress_ragged_eofs=True", "fetcher"),
    Mutant(f"{FETCH}/connector.py", "addresses[:MOST_ADDRESSES]", "addresses", "connector"),
    Mutant(f"{FETCH}/connector.py", "            watch.check()\n", "            pass\n", "timeouts"),
    Mutant(f"{FETCH}/fetcher.py", "limited = DeadlineWatch(watch, self._timeout)", "limited = watch", "timeouts"),
    Mutant(f"{FETCH}/fetcher.py", "if announced.isdecimal() and int(announced) > self._most_bytes:", "if False:",
           "fetcher"),
    Mutant(f"{FETCH}/fetcher.py", "if len(body) > self._most_bytes:", "if False:", "fetcher"),
    Mutant(f"{FETCH}/fetcher.py", '"any" if self._connector.allow_private else "public"', '"any"', "cache"),
    Mutant(f"{FETCH}/fetcher.py", 'if encoding != "identity":', "if False:", "fetcher"),
    Mutant(f"{FETCH}/fetcher.py", "if not kind.startswith", "if False and not kind.startswith", "fetcher"),
    Mutant(f"{FETCH}/fetcher.py", "if pending.data is not None:", "if False:", "deduplication"),
    Mutant(f"{FETCH}/fetcher.py", "pending.error = error\n", "pass\n", "deduplication"),
    Mutant(f"{FETCH}/cache.py", "if hashlib.sha256(data).digest() != digest:", "if False:", "cache"),
    Mutant(f"{FETCH}/cache.py", "or found.st_size > DIGEST_BYTES + most_bytes", "", "cache"),
    Mutant(f"{FETCH}/cache.py", "if not 0 <= time.time() - found.st_mtime < LIFETIME", "if False", "cache"),
    Mutant(f"{FETCH}/cache.py", "if total <= self._most_bytes and file.used_at > EXPIRED:", "if True:", "cache"),
    Mutant(f"{FETCH}/cache.py", "or found.st_uid != os.getuid()", "", "cache"),
    Mutant(f"{FETCH}/cache.py", "or found.st_mode & 0o022", "", "cache"),
    # telling the app
    Mutant(SCHEMA, "WHERE j.finished_at IS NOT NULL AND e.disabled_at IS NULL;", "WHERE j.finished_at IS NOT NULL;",
           "webhooks_outbox"),
    Mutant(SCHEMA, "ANY (e.events) AND (e.user_id IS NULL OR e.user_id = j.user_id)\n   WHERE",
           "ANY (e.events)\n   WHERE",
           "webhooks_outbox"),
    Mutant(SCHEMA, "write_job_deliveries() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET",
           "write_job_deliveries() RETURNS trigger LANGUAGE plpgsql SET",
           "webhooks_outbox"),
    Mutant(SCHEMA, "WHEN (NEW.breaker = 'open' AND OLD.breaker <> 'open')", "WHEN (NEW.breaker = 'open')",
           "webhooks_outbox"),
    Mutant(SCHEMA, "to_char($1 AT TIME ZONE 'UTC',", "to_char($1,", "webhooks_outbox"),
    Mutant(SCHEMA, "CREATE UNIQUE INDEX webhook_delivery_job", "CREATE INDEX webhook_delivery_job", "webhooks_outbox"),
    Mutant(BATCHES, "HAVING bool_and(j.finished_at IS NOT NULL)", "HAVING true", "webhooks_outbox"),
    Mutant(BATCHES, "ON CONFLICT (batch_id, endpoint_id) WHERE batch_id IS NOT NULL DO NOTHING", "", "webhooks_outbox"),
    Mutant(BATCHES, "AND (e.user_id IS NULL OR e.user_id = j.user_id)", "", "webhooks_outbox"),
    Mutant(TAKE, "         FOR NO KEY UPDATE SKIP LOCKED) d", ") d", "deliveries"),
    Mutant(TAKE, "FOR NO KEY UPDATE SKIP LOCKED) d", "FOR NO KEY UPDATE) d", "deliveries"),
    Mutant(TAKE, "AND next_at <= statement_timestamp()\n", "\n", "deliveries"),
    Mutant(TAKE, "lease_token = gen_random_uuid()", "lease_token = coalesce(d.lease_token, gen_random_uuid())",
           "deliveries"),
    Mutant(TAKE, "CASE WHEN failing_since IS NULL THEN %(per_endpoint)s ELSE 1 END", "%(per_endpoint)s", "deliveries"),
    Mutant(TAKE, " - coalesce((%(busy)s::jsonb->>id::text)::integer, 0)", " + length(%(busy)s) * 0", "deliveries"),
    Mutant(TAKE, "WHERE NOT failing OR place <= %(failing_slots)s", "WHERE place <= %(failing_slots)s + 100",
           "deliveries"),
    Mutant(TAKE, "WHERE disabled_at IS NULL AND", "WHERE", "deliveries"),
    Mutant(TAKE, " AND (closed_until IS NULL OR closed_until <= statement_timestamp())", "", "deliveries"),
    Mutant(TAKE, "CASE WHEN old_secret_until > statement_timestamp() THEN old_secret END", "old_secret", "deliveries"),
    Mutant(RECORD, "WHERE id = %(id)s AND lease_token = %(token)s", "WHERE id = %(id)s AND %(token)s IS NOT NULL",
           "deliveries"),
    Mutant(RECORD, "coalesce(f.failing_since, clock_timestamp())", "clock_timestamp()", "deliveries"),
    Mutant(RECORD, "WHERE e.disabled_at IS NULL\n", "WHERE true\n", "deliveries"),
    Mutant(HOOK, "if reply.status == GONE:", "if False:", "webhook"),
    Mutant(HOOK, "if attempts > len(DELAYS):", "if False:", "webhook"),
    Mutant(HOOK, "min(max(reply.retry_after, 0.0), LONGEST_REST)", "reply.retry_after", "webhook"),
    Mutant(f"{FETCH}/poster.py", "watch = DeadlineWatch(_Unwatched(), self._timeout)", "watch = _Unwatched()",
           "poster"),
    Mutant(f"{FETCH}/poster.py", "for secret in delivery.secrets]", "for secret in delivery.secrets[:1]]", "poster"),
]  # fmt: skip


def main(wanted: str = "") -> int:
    chosen = [mutant for mutant in MUTANTS if wanted in mutant.file]
    # Twice as many as there are processors: where a lock is taken out, tests wait for each other.
    with ThreadPoolExecutor(2 * (os.cpu_count() or 1)) as threads:
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
    """The name of the test that failed, or None."""
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
            timeout=TIMEOUT,
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
