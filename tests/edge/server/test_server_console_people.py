"""The list of people in a real Chromium while others are told of: nothing wrong stands there."""

from __future__ import annotations

import pytest
from console_parts import AUDIT, browser, chromium_path
from serving_parts import serving

from crosscam_edge.gallery import Gallery
from crosscam_edge.server.hub import Hub
from crosscam_edge.server.site import Site
from crosscam_edge.server.tokens import Keyring

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
SECOND = 10**9


class People:
    """A gallery and records that the test fills, as a run does."""

    def __init__(self, gallery, hub):
        self.gallery, self.hub = gallery, hub
        self._tracks = 0

    def seen(self, ids, camera, at_s, kind=None):
        """Keep a stay of ten seconds of each; with a kind, what has happened is told."""
        for number in ids:
            self._tracks += 1
            start_ns = at_s * SECOND
            self.gallery.writer.put(
                "INSERT INTO tracklets (camera, track, global_id, start_ns, end_ns, start_frame, "
                "end_frame, observations, width, height, boxes, model_id) "
                "VALUES (?, ?, ?, ?, ?, 0, 0, 1, 1, 1, x'', 'm')",
                (camera, self._tracks, number, start_ns, start_ns + 10 * SECOND),
            )
        assert self.gallery.writer.flush()
        for number in ids if kind is not None else ():
            self.tell(kind, number, camera=camera, time_ns=at_s * SECOND)

    def tell(self, kind, global_id, **more):
        record = {"type": "identity", "kind": kind, "global_id": global_id, "other_id": None}
        self.hub.put({**record, "camera": None, "time_ns": 0, **more})


@pytest.fixture
def people(live, tmp_path):
    found = Gallery(tmp_path / "g.db", model_id="m", dim=8, now_ns=lambda: 10**12, keep_s=1e9)
    yield People(found, Hub())
    found.close()


@pytest.fixture
def page(live, people, tmp_path, tokens, tokens_file):
    program = chromium_path()
    site = Site(live.run, people.gallery, tmp_path / "g.db", people.hub)
    with serving(site, Keyring(tokens_file)) as url, browser(program) as chromium:
        found = chromium.new_context().new_page()
        found.set_default_timeout(20_000)
        found.goto(url + "/")
        found.fill("#token", tokens["operator"])
        found.keyboard.press("Enter")
        found.wait_for_selector(".connection.live")
        yield found
    site.close()


def show(page, query=""):
    page.evaluate("where => { location.hash = where }", f"#/identities{query}")
    page.wait_for_selector("h1:has-text('People')")
    page.wait_for_selector(".person-card, .state-title")


def ids(page):
    return [int(each.split()[-1]) for each in page.locator(".person-card h2").all_inner_texts()]


def new(page, count):
    """Wait until so many are told to be new."""
    page.wait_for_selector(f".page-head button:text-is('Show {count} new')")


def test_only_those_whom_the_filter_shows_are_counted_as_new(page, people):
    people.seen([1, 3], "hall", 100)
    people.seen([2], "yard", 100)
    show(page, "?camera=hall")
    assert ids(page) == [3, 1]
    people.seen([4], "yard", 200, "new")
    people.seen([5], "hall", 200, "new")
    new(page, 1)
    people.seen([2], "hall", 300, "matched")  # of long ago, but not here
    new(page, 2)
    assert ids(page) == [3, 1]
    page.get_by_role("button", name="Show 2 new").click()
    page.wait_for_function("() => document.querySelectorAll('.person-card').length === 4")
    assert ids(page) == [5, 3, 2, 1]
    people.seen([6], "hall", 400, "new")
    new(page, 1)
    show(page, "?camera=yard")  # what was told there is nothing to those here
    page.wait_for_function("() => document.querySelectorAll('.person-card').length === 2")
    assert page.locator(".page-head button").count() == 0
    people.seen([7], "hall", 500, "new")
    people.seen([8], "yard", 500, "new")
    new(page, 1)


def test_those_who_stand_there_are_as_they_are_now_however_many_are_new(page, people):
    people.seen(range(1, 31), "hall", 100)
    show(page)
    assert ids(page) == list(range(30, 6, -1))
    people.seen(range(31, 61), "hall", 200, "new")
    new(page, 30)
    people.seen([20], "yard", 300)
    people.gallery.writer.put("UPDATE tracklets SET global_id = 10 WHERE global_id = 15")
    assert people.gallery.writer.flush()
    people.tell("merged", 10, other_id=15)
    page.wait_for_function("() => document.querySelectorAll('.person-card').length === 23")
    assert ids(page) == [each for each in range(30, 6, -1) if each != 15]
    assert "2 stays" in page.locator(".person-card", has_text="Person 20").inner_text()
    new(page, 30)


def test_who_is_first_in_an_empty_list_comes_by_itself(page, people):
    show(page)
    page.wait_for_selector(".state-title:has-text('Nobody yet')")
    people.seen([1], "hall", 100, "new")
    page.wait_for_selector(".person-card")
    assert page.locator(".page-head button").count() == 0


def test_what_is_typed_into_the_filter_stays_while_people_are_told_of(page, people):
    people.seen([1, 2], "hall", 100)
    show(page)
    page.fill("input[name=since]", "1970-01-01T00:00")
    page.select_option("select[name=camera]", "hall")
    people.seen([3], "hall", 200, "new")
    new(page, 1)
    assert page.input_value("input[name=since]") == "1970-01-01T00:00"
    assert page.input_value("select[name=camera]") == "hall"
    button = page.get_by_role("button", name="Filter", exact=True)
    button.press("Enter")
    page.wait_for_function("() => location.hash.includes('camera=hall')")
    page.wait_for_function("() => document.querySelectorAll('.person-card').length === 3")
    assert page.input_value("select[name=camera]") == "hall"
    assert page.evaluate("() => document.activeElement.textContent") == "Filter"
    page.fill("input[name=until]", "1969-01-01T00:00")
    button.press("Enter")
    page.wait_for_selector(".state-title:has-text('later than')")
    page.get_by_role("link", name="Clear").click()
    page.wait_for_selector(".person-card")
    fields = page.locator(".filters select, .filters input").all()
    assert [each.input_value() for each in fields] == ["", "", ""]


def test_a_search_by_picture_takes_the_place_of_one_by_somebody(page, people):
    people.seen([1], "hall", 100)
    page.evaluate("() => { location.hash = '#/search?like=1' }")
    heading = page.locator("h2.asked-for")
    heading.locator("a.person").wait_for()
    picture = {"name": "a.png", "mimeType": "image/png", "buffer": b"no picture"}
    page.set_input_files("input[type=file]", picture)
    heading.locator("img").wait_for()
    assert page.evaluate("() => location.hash") == "#/search"
    page.evaluate("() => { location.hash = '#/search?like=1' }")
    heading.locator("a.person").wait_for()
    page.evaluate("() => { location.hash = '#/search?like=none' }")
    page.wait_for_selector(".state-title:has-text('“none” is no id of a person')")
    assert heading.count() == 0


def test_names_of_cameras_may_be_long_on_a_phone(page, people):
    people.seen([1], "hall", 100)
    page.set_viewport_size({"width": 360, "height": 740})
    show(page, f"?camera={'a-camera-at-the-back-door-' * 2}")
    assert page.evaluate(AUDIT) == []
