import json
from typing import Any

import pytest
from psycopg.types.json import Jsonb

from generation_worker.domain.errors import InvalidPayload
from generation_worker.domain.payload import parse_payload
from tests.support.database import Connection
from tests.support.payloads import INVALID, VALID


def problem(connection: Connection, kind: str, payload: Any) -> str | None:
    row = connection.execute("SELECT generation_payload_problem(%s, %s)", (kind, Jsonb(payload))).fetchone()
    assert row is not None
    return row[0]


@pytest.mark.parametrize(("kind", "payload"), VALID)
def test_sql_and_python_accept(connection: Connection, kind: str, payload: dict[str, Any]):
    assert problem(connection, kind, payload) is None
    assert parse_payload(kind, json.dumps(payload))


@pytest.mark.parametrize(("kind", "payload", "named"), INVALID)
def test_sql_and_python_refuse_and_name(connection: Connection, kind: str, payload: Any, named: str):
    assert named in (problem(connection, kind, payload) or "")
    with pytest.raises(InvalidPayload) as refused:
        parse_payload(kind, json.dumps(payload))
    assert named in refused.value.message


def test_a_payload_is_not_a_place_for_images(connection: Connection):
    payload = {"prompt": "a", "images": [{"url": "data:" + "a" * 262_144}]}
    assert "larger than 256 kB" in (problem(connection, "text_to_image", payload) or "")
