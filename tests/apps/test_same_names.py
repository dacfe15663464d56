"""An app whose tables have the names of ours."""

from __future__ import annotations

import pytest

from generation_worker.db import migrations
from generation_worker.db.access import create_token, list_tokens
from generation_worker.db.audit_trail import list_events
from tests.apps.app import Queue, contents
from tests.support.database import SCHEMA, queries_on

TABLES = """
CREATE TABLE api_token (id serial PRIMARY KEY, secret text NOT NULL);
CREATE TABLE audit_event (id serial PRIMARY KEY, what text NOT NULL, token int REFERENCES api_token ON DELETE CASCADE);
CREATE FUNCTION grant_credits(who text) RETURNS text LANGUAGE sql RETURN 'of the app, to ' || who;
INSERT INTO api_token (secret) VALUES ('of the app');
INSERT INTO audit_event (what, token) VALUES ('signed in', 1);
"""


@pytest.mark.parametrize("ours_first", [False, True])
def test_both_work_and_neither_touches_the_other(queue: Queue, ours_first: bool):
    app = queue.connection
    if ours_first:
        queue.migrate()
    app.execute(TABLES)
    before = contents(app, "public")
    if not ours_first:
        queue.migrate()
    queue.assert_untouched()

    ours = queries_on(app)
    create_token(ours, "shop", ["enqueue"])
    assert [token.name for token in list_tokens(ours)] == ["shop"]
    assert [event.action for event in list_events(ours)] == ["token.create"]
    assert contents(app, "public") == before

    queue.remember()
    app.execute("INSERT INTO audit_event (what) VALUES ('signed out')")
    app.execute("DELETE FROM api_token")
    assert app.execute("SELECT what FROM audit_event").fetchall() == [("signed out",)]
    assert app.execute("SELECT grant_credits('ada')").fetchone() == ("of the app, to ada",)
    queue.assert_untouched()

    migrations.downgrade(queue.address, "base", schema=SCHEMA)
    assert app.execute("SELECT what FROM audit_event").fetchall() == [("signed out",)]
    assert contents(app, "public").objects == before.objects
