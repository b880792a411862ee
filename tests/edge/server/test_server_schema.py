"""Requests made up from the OpenAPI document: every answer is one that the document promises."""

from __future__ import annotations

from collections import defaultdict
from contextlib import suppress

import cv2
import httpx
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.errors import Unsatisfiable
from serving_parts import running, serving

schemathesis = pytest.importorskip("schemathesis", reason="the extra 'dev' is not installed")

from schemathesis import GenerationMode  # noqa: E402
from schemathesis.checks import not_a_server_error  # noqa: E402
from schemathesis.specs.openapi.checks import (  # noqa: E402
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from crosscam_edge.server.limits import Attempts  # noqa: E402
from crosscam_edge.server.site import Site  # noqa: E402
from crosscam_edge.server.tokens import Keyring  # noqa: E402
from crosscam_edge.server.upload import KINDS  # noqa: E402

ENDLESS = {"/api/v1/events", "/api/v1/live"}  # what they refuse is tested by hand
CHECKS = [
    not_a_server_error, status_code_conformance, content_type_conformance,
    response_schema_conformance,
]  # fmt: skip


def pictures(kind):
    """Pictures with somebody and with nobody, whole or damaged, and what is no picture."""
    image = np.full((96, 128, 3), 40, np.uint8)
    nobody = cv2.imencode(kind, image)[1].tobytes()
    image[:, 40:70] = 220
    somebody = cv2.imencode(kind, image)[1].tobytes()
    cut = [somebody[: len(somebody) * k // 8] for k in range(8)]
    return st.sampled_from([*[somebody] * 5, nobody, *cut, b"GIF89a", bytes(1 << 20)])


for each in KINDS:
    schemathesis.openapi.media_type(each, pictures("." + each.removeprefix("image/")))


@pytest.fixture(scope="module")
def url(videos, tokens_file, tokens, tmp_path_factory):
    """A run of its own: its people are merged, split and erased."""
    with running(videos, tmp_path_factory.mktemp("schema")) as found:
        found.until(lambda: len(found.run.identities.online.people) > 0)
        found.gallery.writer.flush()
        site = Site(found.run, found.gallery, found.path, found.hub)
        with serving(site, Keyring(tokens_file), pace=Attempts(10**9)) as address:
            yield address
        site.close()


@pytest.mark.slow
@pytest.mark.parametrize("mode", list(GenerationMode), ids=lambda mode: mode.value)
@pytest.mark.parametrize("holder", ["hall", "admin"])
def test_every_answer_is_as_promised(url, tokens, holder, mode):
    """As an operator of one camera and as an admin, with what is described and what is not."""
    found = httpx.get(url + "/api/v1/openapi.json").json()
    schema = schemathesis.openapi.from_dict(found)
    headers = {"Authorization": f"Bearer {tokens[holder]}"}
    asked, told = set(), defaultdict(set)
    for result in schema.get_all_operations():
        operation = result.ok()
        if operation.path in ENDLESS:
            continue
        asked.add(operation.path)
        for kind, status in _ask(operation, mode, url, headers):
            told[operation.path, operation.method, kind].add(status)
    assert asked == set(found["paths"]) - ENDLESS
    statuses = {status for each in told.values() for status in each}
    if mode is GenerationMode.NEGATIVE:
        assert statuses >= {404, 422}
        return
    for kind in KINDS:
        assert told["/api/v1/search/picture", "post", kind] >= {200, 422}, told
    assert told["/api/v1/topology", "put", "application/json"] & {200, 403}
    assert (403 in statuses) == (holder != "admin")


def _ask(operation, mode, url, headers):
    told = []

    @settings(
        max_examples=60 if operation.path.endswith("/picture") else 10,
        derandomize=True, database=None, deadline=None, suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(case=operation.as_strategy(generation_mode=mode))
    def ask(case):
        answer = case.call(base_url=url, headers=headers, timeout=20)
        case.validate_response(answer, checks=CHECKS)
        told.append((case.media_type, answer.status_code))

    with suppress(Unsatisfiable):  # nothing is described that could be done otherwise
        ask()
    return told
