"""Keys as a person sees them: who may do what, and how one is taken back."""

from __future__ import annotations

from generation_worker.db.access import create_token
from tests.support.database import Connection, queries_on
from tests.web.pages.conftest import SignIn

KEYS = "/dashboard/keys"


def test_keys_are_listed_without_their_secrets(sign_in: SignIn, connection: Connection):
    browser = sign_in("read")
    app = create_token(
        queries_on(connection), "the <app>", ["enqueue", "read"], user_id="ada", most_waiting=7, requests_per_minute=30
    )
    page = browser.open(KEYS)
    rows = {row["name"]: row for row in page.rows("Keys")}
    shown = rows["the <app>"]
    assert (shown["scopes"], shown["user"], shown["state"]) == ("enqueue, read", "ada", "active")
    assert shown["limits of its own"] == "30 requests a minute; 7 waiting"
    assert (shown["last used"], shown["expires"]) == ("never", "never")
    assert "test (yours)" in rows
    [(hashed,)] = connection.execute("SELECT secret_hash FROM api_token WHERE id = %s", [app.token.id]).fetchall()
    for secret in (app.key, app.key.rpartition("_")[2], hashed.hex(), "<app>"):
        assert secret not in page.answer.text
    assert not page.has_form("Revoke")


def test_keys_page_by_page_of_one_user_and_those_that_are_gone(sign_in: SignIn, connection: Connection):
    browser = sign_in("read")
    for n in range(60):
        create_token(queries_on(connection), f"key {n}", ["read"], user_id="ada" if n < 55 else None)
    connection.execute("UPDATE api_token SET revoked_at = now() WHERE name = 'key 3'")
    page, found = browser.send(browser.open(KEYS).forms[-1], user_id="ada"), list[str]()
    while True:
        found += [row["name"] for row in page.rows("Keys")]
        if "Earlier keys" not in page.links:
            break
        page = browser.open(page.links["Earlier keys"])
    assert found == [f"key {n}" for n in range(54, -1, -1) if n != 3]
    gone = browser.send(page.forms[-1], user_id="ada", gone="true")
    assert gone.links["Earlier keys"]
    states = [row["state"] for row in browser.open(gone.links["Earlier keys"]).rows("Keys")]
    assert states == ["active", "revoked", "active", "active", "active"][-len(states) :]


def test_a_revoked_key_lets_nobody_in(sign_in: SignIn, connection: Connection):
    admin = sign_in("admin")
    made = create_token(queries_on(connection), "leaked", ["read"])
    form = next(f for f in admin.open(KEYS).forms if f.action == f"{KEYS}/{made.token.id}/revoke")
    done = admin.send(form, reason="it was in a log")
    assert done.said == "The key leaked is revoked."
    assert "leaked" not in [row["name"] for row in done.rows("Keys")]
    assert admin.client.get("/worker/status", headers={"Authorization": f"Bearer {made.key}"}).status_code == 401
    recorded = connection.execute("SELECT target, reason FROM audit_event WHERE action = 'token.revoke'").fetchall()
    assert recorded == [(f"token:{made.token.id}", "it was in a log")]
    missing = admin.post(form.action.replace(made.token.id, "0" * 12), form.fields)
    assert missing.status_code == 404


def test_who_revokes_their_own_key_is_warned(sign_in: SignIn, connection: Connection):
    browser = sign_in("admin")
    page = browser.open(KEYS)
    assert "You signed in with this key" in page.text
    browser.send(page.form("Revoke"))
    [(revoked,)] = connection.execute("SELECT revoked_at IS NOT NULL FROM api_token").fetchall()
    assert revoked


def test_only_an_admin_revokes_and_nobody_makes_keys(sign_in: SignIn, connection: Connection):
    admin, operator = sign_in("admin"), sign_in("operate", "read")
    proof = operator.open(KEYS).form("Sign out").fields["proof"]
    revoke = next(form for form in admin.open(KEYS).forms if form.action.endswith("/revoke"))
    assert operator.post(revoke.action, revoke.fields | {"proof": proof}).status_code == 403
    assert admin.post(KEYS, revoke.fields | {"name": "a", "scope": "admin"}).status_code == 405
    assert connection.execute("SELECT count(*) FROM api_token WHERE revoked_at IS NULL").fetchone() == (2,)
