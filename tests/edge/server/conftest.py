from __future__ import annotations

import httpx
import pytest
from serving_parts import running, serving, write_people

from crosscam_edge.server.site import Site
from crosscam_edge.server.tokens import Keyring, Role, create_token


@pytest.fixture(scope="session")
def videos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("seen")
    write_people(folder)
    return folder


@pytest.fixture(scope="session")
def live(videos, tmp_path_factory):
    with running(videos, tmp_path_factory.mktemp("live")) as found:
        found.until(lambda: {"hall", "yard"} <= _cameras_of_people(found))
        yield found


def _cameras_of_people(found):
    return {
        key.camera_id
        for each in list(found.run.identities.online.people)
        for key in list(each.members)
    }


@pytest.fixture(scope="session")
def tokens_file(tmp_path_factory):
    return tmp_path_factory.mktemp("tokens") / "tokens.json"


@pytest.fixture(scope="session")
def tokens(tokens_file):
    made = {
        role: create_token(tokens_file, Role(role), name=role)[1]
        for role in ("viewer", "operator", "admin")
    }
    made["hall"] = create_token(tokens_file, Role.OPERATOR, name="hall", cameras=["hall"])[1]
    return made


@pytest.fixture
def site(live):
    found = Site(live.run, live.gallery, live.path, live.hub)
    yield found
    found.close()


@pytest.fixture
def url(site, tokens, tokens_file):
    with serving(site, Keyring(tokens_file)) as found:
        yield found + "/api/v1"


@pytest.fixture
def ask(url, tokens):
    """Ask as somebody; None shows no token."""
    with httpx.Client(base_url=url, timeout=20) as client:

        def asked(holder, path, method="GET", **more):
            headers = dict(more.pop("headers", {}))
            if holder is not None:
                headers["Authorization"] = f"Bearer {tokens.get(holder, holder)}"
            return client.request(method, path, headers=headers, **more)

        yield asked
