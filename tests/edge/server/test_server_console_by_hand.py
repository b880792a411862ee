"""Merging and splitting in a real Chromium, with the keyboard alone, before a real run."""

from __future__ import annotations

import re
import time

import httpx
import pytest
from console_parts import AUDIT, Site, browser, needed

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """People whom real cameras have seen, and who stay as they are but for what is done by hand.

    Before cameras that go on, reviews move stays and people are seen at once, at any moment.
    """
    found = Site(tmp_path_factory.mktemp("by-hand"), needed()[1])
    found.start()
    ends = time.monotonic() + 400
    try:
        while True:
            while not splittable(found):
                assert time.monotonic() < ends, "nobody came twice"
                time.sleep(1)
            found.calm()
            if agreed(found, ends):
                break
            found.go_on()  # who was matched last was somebody else, when all was looked at again
        yield found
    finally:
        found.stop()


def agreed(site, ends):
    """Wait until reviews, one in five seconds, agree with what is; return who is splittable."""
    known, quiet_s = None, 0
    while quiet_s < 16:
        assert time.monotonic() < ends, "it does not come to rest"
        before, known = known, splittable(site)
        quiet_s = quiet_s + 1 if known == before else 0
        time.sleep(1)
    return known


@pytest.fixture
def page(site):
    with browser(needed()[0]) as chromium:
        page = chromium.new_context().new_page()
        page.set_default_timeout(60_000)
        page.goto(site.url + "/")
        page.fill("#token", site.tokens["operator"])
        page.keyboard.press("Enter")
        page.wait_for_selector(".connection.live")
        yield page


def request(site, path, method="GET", **more):
    headers = {"Authorization": f"Bearer {site.tokens['operator']}"}
    address = f"{site.url}/api/v1{path}"
    answer = httpx.request(method, address, headers=headers, timeout=60, **more)
    return answer.raise_for_status()


@pytest.fixture
def ask(site):
    return lambda path: request(site, path).json()


def splittable(site):
    """Return who has several stays, the first of them over before the others; and that stay."""
    found = []
    for each in request(site, "/identities?limit=200").json()["identities"]:
        if each["tracklets"] > 1:
            first, *others = request(site, f"/identities/{each['global_id']}").json()["journey"]
            if all(stay["start_ns"] > first["end_ns"] for stay in others):
                found.append((each["global_id"], (first["camera"], first["track"])))
    return found


def stays(person):
    return {(each["camera"], each["track"]) for each in person["journey"]}


def press(page, name):
    """Choose a button as whoever has no mouse does; the question must take the focus."""
    button = page.get_by_role("button", name=name, exact=True)
    button.focus()
    page.keyboard.press("Enter")
    page.wait_for_selector("dialog[open]")
    assert page.evaluate("() => document.querySelector('dialog').contains(document.activeElement)")
    assert page.evaluate(AUDIT) == []


def tab_to(page, what):
    """Press Tab until something has the focus."""
    for _ in range(80):
        if page.evaluate("what => document.activeElement.matches(what)", what):
            return
        page.keyboard.press("Tab")
    pytest.fail(f"Tab never comes to {what}")


def show(page, person):
    page.evaluate("id => { location.hash = `#/identities/${id}` }", person)
    page.wait_for_selector(f"h1:has-text('Person {person}')")
    page.wait_for_selector(".timeline svg")


def test_a_stay_is_split_off_and_merged_again_by_keyboard(page, site, ask):
    person, stay = splittable(site)[0]
    show(page, person)
    press(page, "Split")
    page.keyboard.press("Escape")  # another thought: nothing happens, and one is back
    page.wait_for_function("() => document.activeElement.textContent === 'Split'")
    assert stay in stays(ask(f"/identities/{person}"))
    press(page, "Split")
    submit = page.locator("dialog button[type=submit]")
    assert submit.is_disabled()
    tab_to(page, "dialog input[type=checkbox]")
    page.keyboard.press("Space")
    assert submit.inner_text() == "Split off 1 stay"
    tab_to(page, "dialog button[type=submit]")
    page.keyboard.press("Enter")
    page.wait_for_function("id => !location.hash.endsWith(`/${id}`)", arg=person)
    page.wait_for_selector(f"h1:not(:has-text('Person {person}'))")
    page.wait_for_selector(".events li.split")
    new = int(re.search(r"\d+", page.inner_text("h1")).group())
    assert stay in stays(ask(f"/identities/{new}"))
    assert stay not in stays(ask(f"/identities/{person}"))
    told = page.inner_text(".events li.split")
    assert f"Was part of Person {person}" in " ".join(told.split())
    assert "by hand" in told

    press(page, "Merge")
    page.keyboard.type(str(person))
    page.wait_for_selector(f".other a.person:has-text('{person}')")  # who that is
    page.keyboard.press("Enter")
    page.wait_for_function("id => location.hash.endsWith(`/${id}`)", arg=person)
    page.wait_for_selector(".events li.merged")
    whole = ask(f"/identities/{person}")
    assert stay in stays(whole)
    assert new in whole["names"]
    by_hand = [(e["kind"], e["other_id"]) for e in whole["events"] if e["cause"] == "by hand"]
    assert ("merged", new) in by_hand
    assert "by hand" in page.inner_text(".events li.merged")
    page.evaluate("id => { location.hash = `#/identities/${id}` }", new)
    page.wait_for_selector(f".notice:has-text('{new} was merged into {person}')")


def test_what_others_decide_is_shown_though_the_gallery_comes_later(page, site):
    """The run tells of it at once; the page must not be content with what was kept till then."""
    person, (camera, track) = splittable(site)[-1]
    show(page, person)
    body = {"tracklets": [{"camera": camera, "track": track}]}
    new = request(site, f"/identities/{person}/split", "POST", json=body).json()["global_id"]
    other = page.context.new_page()  # of somebody who is not in the gallery yet
    other.set_default_timeout(20_000)
    other.add_init_script(f"sessionStorage.setItem('crosscam.token', '{site.tokens['operator']}')")
    other.goto(f"{site.url}/#/identities/{new}")
    other.wait_for_selector(".events li.split")
    page.wait_for_selector(".events li.moved:has-text('went to')", timeout=20_000)


def test_what_the_server_refuses_is_told_in_the_question(page, ask):
    person = ask("/identities")["identities"][0]["global_id"]
    show(page, person)
    press(page, "Merge")
    page.keyboard.type("999999")
    page.keyboard.press("Enter")
    page.wait_for_selector("dialog [role=alert]")
    assert "999999" in page.inner_text("dialog [role=alert]")
    page.keyboard.press("Escape")
    page.wait_for_function("() => !document.querySelector('dialog[open]')")
