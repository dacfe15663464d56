"""Every operation of the OpenAPI document, sent what it allows and what it does not, by two tenants and an operator.

Each answer is one that the document knows, and nothing in it is another tenant's. `make fuzz-api` tries far more.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from typing import Any
from uuid import UUID, uuid4

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings, strategies as st
from schemathesis.generation import GenerationMode
from schemathesis.specs.openapi import checks

from generation_worker.db.query import write_number_cursor
from tests.support import jobs
from tests.support.database import Connection
from tests.support.populated import Population
from tests.web.conftest import MakeKey
from tests.web.served_api import Api

EXAMPLES = int(os.environ.get("API_EXAMPLES", "0"))
"""Requests for each operation, caller and mode; 0: a few, the same ones each time."""
FEW = 5
LIBRARY: Any = schemathesis
"""It has types of its own, most of which are unknown."""
OF_DOCUMENT: Any = checks
KNOWN = [
    LIBRARY.checks.not_a_server_error,
    OF_DOCUMENT.status_code_conformance,
    OF_DOCUMENT.content_type_conformance,
    OF_DOCUMENT.response_schema_conformance,
    OF_DOCUMENT.response_headers_conformance,
]
SECRETS = {"ada": "the moon that only ada knows", "eve": "the sun that only eve knows"}
"""In each tenant's prompts."""
OPERATOR = "operator"
Callers = dict[str, dict[str, str]]
"""The headers that each of them sends."""
UUIDS = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
OWNERS = "SELECT DISTINCT user_id FROM generation_job WHERE id = ANY(%(ids)s) OR batch_id = ANY(%(ids)s)"
PATIENT = (HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much)
ENDLESS = "text/event-stream"
"""What a server sends until something ends is read by other tests."""


class World:
    """Two tenants with a job in each state, and what names them."""

    def __init__(self, connection: Connection, population: Population) -> None:
        self.connection = connection
        jobs.grant(connection, "eve", 50)
        ids: list[UUID] = []
        batches: list[UUID] = []
        for user, secret in SECRETS.items():
            made = jobs.enqueue_all(connection, user, payload={"prompt": secret}, count=2)
            ids += [row["id"] for row in made]
            batches.append(made[0]["batch"])
        ids += [population.completed, population.failed, population.processing, population.cancelled]
        self.named: dict[str, list[str]] = {
            "job_id": [*map(str, ids), str(uuid4())],
            "batch_id": [*map(str, batches), str(uuid4())],
            "user_id": ["ada", "eve", "nobody"],
            "cursor": [write_number_cursor(2)],
        }

    def owners(self, ids: set[str]) -> set[str]:
        """Whose these jobs and batches are."""
        found = self.connection.execute(OWNERS, {"ids": [UUID(text) for text in ids]}).fetchall()
        return {row[0] for row in found}


@pytest.fixture
def world(connection: Connection, population: Population) -> World:
    return World(connection, population)


def operations(served: Api) -> Iterator[Any]:
    document = LIBRARY.openapi.from_dict(served.client.get("/openapi.json").json())
    for found in document.get_all_operations():
        operation: Any = found.ok()
        answers = operation.definition.raw["responses"].values()
        if not any(ENDLESS in answer.get("content", {}) for answer in answers):
            yield operation


@pytest.mark.parametrize("mode", GenerationMode)
def test_every_answer_is_one_that_the_document_knows(served: Api, world: World, key: MakeKey, mode: GenerationMode):
    """Each request is sent by all of them: to think of one takes longer than to answer it."""
    callers: Callers = {user: key("enqueue", "read", user=user) for user in SECRETS} | {OPERATOR: key("admin")}
    base, tried = str(served.client.base_url), 0
    for operation in operations(served):
        if mode is GenerationMode.POSITIVE or _takes_anything(operation):
            _try(operation, mode, world, callers, base)
            tried += 1
    assert tried > 20


def _send(case: Any, base: str, headers: dict[str, str]) -> requests.Response:
    """With the key: Schemathesis also leaves it out, which is what other tests are for."""
    asked = case.as_transport_kwargs(base_url=base)
    shown = {name: value for name, value in asked.pop("headers").items() if name.lower() != "authorization"}
    with requests.Session() as session:
        session.trust_env = False
        return session.request(**asked, headers={**shown, **headers}, timeout=60)


def _takes_anything(operation: Any) -> bool:
    """Otherwise nothing that is sent could be wrong."""
    return any([*operation.path_parameters, *operation.query, *operation.headers, *operation.body])


def _try(operation: Any, mode: GenerationMode, world: World, callers: Callers, base: str) -> None:
    @settings(
        max_examples=EXAMPLES or FEW,
        derandomize=not EXAMPLES,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=PATIENT,
    )
    @given(case=operation.as_strategy(generation_mode=mode), names=st.data())
    def ask(case: Any, names: st.DataObject) -> None:
        _name_what_is_there(case, names, world)
        for who, headers in callers.items():
            _check(who, case, _send(case, base, headers), world)

    ask()


def _check(who: str, case: Any, answer: requests.Response, world: World) -> None:
    case.validate_response(answer, checks=KNOWN)
    assert answer.status_code != 401, "the key was not shown"
    if who != OPERATOR:
        _check_tenant(who, answer.text, f"{case.as_curl_command()}", world)


def _name_what_is_there(case: Any, names: st.DataObject, world: World) -> None:
    """What is made up names nothing; so, mostly, put a name of something in its place."""
    for part in (case.path_parameters, case.query):
        for name, known in world.named.items():
            if isinstance(part, dict) and name in part and names.draw(st.integers(0, 3)):
                part[name] = names.draw(st.sampled_from(known))


def _check_tenant(who: str, said: str, request: str, world: World) -> None:
    for other, secret in SECRETS.items():
        assert other == who or secret not in said
    told = set(UUIDS.findall(said)) - set(UUIDS.findall(request))
    assert world.owners(told) <= {who}, request
    users = set(re.findall(r'"user_id":"([^"]*)"', said))
    assert users <= {who}, request
