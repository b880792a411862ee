"""Requests made up from the OpenAPI document: every answer is one that the document promises."""

from __future__ import annotations

import httpx
import pytest
from hypothesis import HealthCheck, given, settings

schemathesis = pytest.importorskip("schemathesis", reason="the extra 'dev' is not installed")

from schemathesis.checks import not_a_server_error  # noqa: E402
from schemathesis.specs.openapi.checks import (  # noqa: E402
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

ENDLESS = {"/api/v1/events", "/api/v1/live"}  # what they refuse is tested by hand
CHECKS = [
    not_a_server_error, status_code_conformance, content_type_conformance,
    response_schema_conformance,
]  # fmt: skip


@pytest.mark.slow
def test_every_answer_is_as_promised(url, tokens):
    """As an operator: an admin would erase those whom other tests look for."""
    found = httpx.get(url + "/openapi.json").json()
    schema = schemathesis.openapi.from_dict(found)
    headers = {"Authorization": f"Bearer {tokens['operator']}"}
    asked = set()
    for result in schema.get_all_operations():
        operation = result.ok()
        if operation.path not in ENDLESS:
            asked.add(operation.path)
            _ask(operation, url.removesuffix("/api/v1"), headers)
    assert asked == set(found["paths"]) - ENDLESS


def _ask(operation, base_url, headers):
    @settings(
        max_examples=10, derandomize=True, database=None, deadline=None,
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(case=operation.as_strategy())
    def ask(case):
        answer = case.call(base_url=base_url, headers=headers, timeout=20)
        case.validate_response(answer, checks=CHECKS)

    ask()
