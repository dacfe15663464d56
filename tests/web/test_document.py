"""What generators of clients stumble over does not stand in the OpenAPI document."""

from __future__ import annotations

import re
from collections import Counter
from typing import Any

import pytest

from tests.web.served_api import Api


@pytest.fixture
def document(served: Api) -> dict[str, Any]:
    return served.client.get("/openapi.json").json()


def operations(document: dict[str, Any]) -> list[dict[str, Any]]:
    return [operation for path in document["paths"].values() for operation in path.values()]


def test_each_model_has_a_name_of_its_own(document: dict[str, Any]):
    """Two of one name get those of their modules before it, which some generators drop again."""
    schemas: dict[str, Any] = document["components"]["schemas"]
    assert [name for name in schemas if not re.fullmatch(r"[A-Z][A-Za-z0-9]+", name)] == []
    titles = Counter(schema.get("title", name) for name, schema in schemas.items())
    assert [title for title, times in titles.items() if times > 1] == []


def test_each_operation_is_a_function_with_a_name(document: dict[str, Any]):
    names = Counter(operation["operationId"] for operation in operations(document))
    assert [name for name, times in names.items() if times > 1 or not re.fullmatch(r"[a-z_]+", name)] == []
    assert all(operation["summary"] and operation["tags"] for operation in operations(document))


def test_each_answer_and_body_has_a_schema(document: dict[str, Any]):
    """An empty one would be anything at all: a client knows nothing of it."""
    for operation in operations(document):
        contents = [answer.get("content", {}) for answer in operation["responses"].values()]
        contents.append(operation.get("requestBody", {}).get("content", {}))
        for content in contents:
            for kind, told in content.items():
                assert told.get("schema"), (operation["operationId"], kind)


def test_a_file_can_be_sent_as_generated_clients_send_one(document: dict[str, Any]):
    taken = document["paths"]["/worker/images"]["post"]["requestBody"]["content"]
    assert taken["application/octet-stream"]["schema"] == {"type": "string", "format": "binary"}
