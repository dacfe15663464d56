from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from generation_worker.db.credits import LAST_CHARACTER, find_account, list_balances, list_entries
from tests.support.database import Connection, Database, queries_on
from tests.support.jobs import balance, entries, grant
from tests.support.plans import blocks_read
from tests.support.populated import populate
from tests.support.races import at_once, many_at_once
from tests.support.refusals import ANOTHER_REQUEST, APPEND_ONLY, INSUFFICIENT_CREDITS, NOT_VALID, refused
from tests.support.waiting import wait_for_lock_waiters


def move(connection: Connection, how: str, *arguments: Any) -> tuple[Any, ...]:
    """The answer of grant_credits or adjust_credits: entry, balance, duplicate."""
    places = ", ".join(["%s"] * len(arguments))
    row = connection.execute(f"SELECT * FROM {how}_credits({places})".encode(), arguments).fetchone()
    assert row is not None
    return row


def test_a_grant_opens_the_account_and_adds_to_it(connection: Connection):
    assert move(connection, "grant", "ada", 10) == (1, 10, False)
    assert move(connection, "grant", "ada", 5) == (2, 15, False)
    assert entries(connection) == [("grant", 10, 10), ("grant", 5, 15)]


def test_an_adjustment_goes_up_and_down(connection: Connection):
    grant(connection, "ada", 10)
    assert move(connection, "adjust", "ada", -10) == (2, 0, False)
    assert move(connection, "adjust", "ada", 3) == (3, 3, False)
    assert entries(connection)[1:] == [("adjustment", -10, 0), ("adjustment", 3, 3)]


def test_who_moved_credits_and_why_is_kept(connection: Connection):
    move(connection, "grant", "ada", 10, "order-7", "bought", "stripe")
    kept = connection.execute("SELECT idempotency_key, reason, actor FROM credit_entry").fetchone()
    assert kept == ("order-7", "bought", "stripe")


@pytest.mark.parametrize("how", ["grant", "adjust"])
def test_the_same_key_moves_credits_once(connection: Connection, how: str):
    assert move(connection, how, "ada", 10, "order-7") == (1, 10, False)
    grant(connection, "ada", 1)
    assert move(connection, how, "ada", 10, "order-7") == (1, 11, True)
    assert balance(connection) == 11


def test_a_key_belongs_to_its_user(connection: Connection):
    for user in ("ada", "bob"):
        assert move(connection, "grant", user, 10, "order-7") == (1, 10, False)


@pytest.mark.parametrize(("how", "amount"), [("grant", 11), ("adjust", 10)])
def test_a_key_is_refused_for_another_movement(connection: Connection, how: str, amount: int):
    grant(connection, "ada", 10, "order-7")
    with refused(ANOTHER_REQUEST, match="'order-7' was used for a grant of 10"):
        move(connection, how, "ada", amount, "order-7")
    assert balance(connection) == 10


def test_twelve_grants_with_one_key_at_once_are_one(connection: Connection, database: Database):
    answers = many_at_once(database, 12, lambda caller: move(caller, "grant", "ada", 10, "order-7"))
    assert sorted(answers) == [(1, 10, False)] + [(1, 10, True)] * 11
    assert balance(connection) == 10


def test_movements_at_once_leave_no_gap(connection: Connection, database: Database):
    def mover(amount: int) -> Callable[[Connection], Any]:
        return lambda caller: [move(caller, "adjust", "ada", amount) for _ in range(5)]

    grant(connection, "ada", 100)
    at_once(database, [mover(amount) for amount in (1, -1, 2, -2, 3, -3)])
    after = 0
    for _, amount, balance_after in entries(connection):
        after += amount
        assert balance_after == after
    assert after == balance(connection) == 100
    assert len(entries(connection)) == 31


def test_a_balance_is_never_negative(connection: Connection):
    grant(connection, "ada", 10)
    with refused(INSUFFICIENT_CREDITS, match="user ada has 10 credits; 11 cannot be taken"):
        move(connection, "adjust", "ada", -11)
    assert entries(connection) == [("grant", 10, 10)]


def test_two_who_look_for_the_same_key_at_once_look_one_after_the_other(connection: Connection, database: Database):
    """Both wait for a locked account; had they looked for the key before, neither would have found it."""
    grant(connection, "ada", 1)
    third = database.connect()
    with ThreadPoolExecutor(2) as threads:
        with third.transaction():
            third.execute("SELECT FROM credit_account FOR NO KEY UPDATE")
            both = [threads.submit(move, database.connect(), "grant", "ada", 10, "order-7") for _ in range(2)]
            wait_for_lock_waiters(connection, 2)
        assert sorted(one.result() for one in both) == [(2, 11, False), (2, 11, True)]


def test_what_is_just_being_taken_cannot_be_taken_twice(connection: Connection, database: Database):
    grant(connection, "ada", 10)
    first = database.connect()
    with ThreadPoolExecutor(1) as threads:
        with first.transaction():
            move(first, "adjust", "ada", -6)
            second = threads.submit(move, database.connect(), "adjust", "ada", -6)
            wait_for_lock_waiters(connection, 1)
        with refused(INSUFFICIENT_CREDITS, match="user ada has 4 credits; 6 cannot be taken"):
            second.result()


def test_a_balance_is_never_negative_however_many_take_from_it(connection: Connection, database: Database):
    grant(connection, "ada", 5)
    answers = many_at_once(database, 12, lambda caller: move(caller, "adjust", "ada", -1))
    assert sum(isinstance(answer, tuple) for answer in answers) == 5
    assert balance(connection) == 0


@pytest.mark.parametrize(
    ("how", "amount"),
    [
        ("grant", 0),
        ("grant", -1),
        ("grant", None),
        ("grant", 10**12 + 1),
        ("adjust", 0),
        ("adjust", -(10**12) - 1),
        ("adjust", -(2**63)),
    ],
)
def test_an_amount_must_be_one(connection: Connection, how: str, amount: int | None):
    with refused(NOT_VALID, match="amount: "):
        move(connection, how, "ada", amount)
    assert entries(connection) == []


@pytest.mark.parametrize("user", ["", None, "a" * 256])
def test_a_user_must_be_named(connection: Connection, user: str | None):
    with refused(NOT_VALID, match="user_id: must have 1 to 255 characters"):
        move(connection, "grant", user, 1)


@pytest.mark.parametrize("kind", ["debit", "refund", "gift"])
def test_only_a_job_debits_and_refunds(connection: Connection, kind: str):
    with pytest.raises(Exception, match="violates check constraint"):
        connection.execute("SELECT post_credits('ada', %s, 1, NULL, NULL, NULL)", (kind,))
    assert balance(connection) == 0


@pytest.mark.parametrize(
    "change",
    ["UPDATE credit_entry SET amount = 11", "UPDATE credit_entry SET reason = 'x'", "DELETE FROM credit_entry",
     "TRUNCATE credit_entry"],
)  # fmt: skip
def test_entries_are_append_only(connection: Connection, change: str):
    grant(connection, "ada", 10)
    with refused(APPEND_ONLY, match="credit_entry is append-only: it cannot be changed by (UPDATE|DELETE|TRUNCATE)"):
        connection.execute(change.encode())
    assert entries(connection) == [("grant", 10, 10)]


def test_accounts_and_their_entries(connection: Connection):
    queries = queries_on(connection)
    assert list_balances(queries) == []
    assert find_account(queries, "ada") is None
    populate(connection)
    assert [(account.user_id, account.balance) for account in list_balances(queries)] == [("ada", 96), ("bob", 10)]
    assert [account.user_id for account in list_balances(queries, after="ada")] == ["bob"]
    account = find_account(queries, "ada")
    assert account is not None
    assert (account.balance, account.waiting) == (96, 3)
    latest = list_entries(queries, "ada", limit=2)
    assert [entry.seq for entry in latest] == [account.entries, account.entries - 1]
    assert list_entries(queries, "ada", before=2)[0].idempotency_key == "payment-1"


def test_accounts_that_begin_alike_cost_a_page_however_many_there_are(connection: Connection):
    connection.execute("INSERT INTO credit_account (user_id) SELECT 'user-' || n FROM generate_series(1, 20000) n")
    connection.execute("ANALYZE credit_account")
    queries = queries_on(connection)
    found = list_balances(queries, beginning="user-1999", limit=3)
    assert [account.user_id for account in found] == ["user-1999", "user-19990", "user-19991"]
    after = list_balances(queries, beginning="user-1999", after="user-19998")
    assert [account.user_id for account in after] == ["user-19999"]
    for filters in ({"beginning": "user-1999"}, {"beginning": "user-", "after": "user-5"}, {}):
        end = filters.get("beginning", "") + LAST_CHARACTER
        values = {"beginning": "", "after": "", "end": end, "limit": 50, **filters}
        assert blocks_read(connection, "balances", values) < 100
