"""The search and the map in a real Chromium, before a real run."""

from __future__ import annotations

import time

import httpx
import pytest
from console_parts import AUDIT, Site, browser, needed

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    found = Site(tmp_path_factory.mktemp("search"), needed()[1])
    found.start()
    yield found
    found.stop()


@pytest.fixture
def ask(site):
    headers = {"Authorization": f"Bearer {site.tokens['viewer']}"}

    def asked(path):
        answer = httpx.get(f"{site.url}/api/v1{path}", headers=headers, timeout=60)
        return answer.raise_for_status()

    return asked


@pytest.fixture
def enter(site):
    with browser(needed()[0]) as chromium:

        def entered(holder, where):
            page = chromium.new_context().new_page()
            page.set_default_timeout(60_000)
            page.goto(f"{site.url}/#/{where}")
            page.fill("#token", site.tokens[holder])
            page.keyboard.press("Enter")
            page.wait_for_selector(".connection.live")
            return page

        yield entered


def with_picture(ask):
    ends = time.monotonic() + 120
    while time.monotonic() < ends:
        for each in ask("/identities?limit=200").json()["identities"]:
            if each["picture"] is not None:
                return each["global_id"], ask(f"/pictures/{each['picture']}").content
        time.sleep(1)
    pytest.fail("nobody has a picture")


def test_people_are_found_by_a_picture_of_them(enter, ask):
    person, jpeg = with_picture(ask)
    page = enter("operator", "search")
    field = page.locator("input[type=file]")
    field.set_input_files({"name": "who.jpg", "mimeType": "image/jpeg", "buffer": jpeg})
    page.wait_for_selector(".matches .person-card")
    first = page.locator(".matches .person-card").first
    assert int("".join(filter(str.isdigit, first.locator("h3").inner_text()))) == person
    page.wait_for_selector(".matches .portrait img")
    assert page.evaluate(AUDIT) == []
    # What is no picture is told, whoever notices.
    field.set_input_files({"name": "x.txt", "mimeType": "text/plain", "buffer": b"words"})
    page.wait_for_selector(".drop [role=alert]")
    field.set_input_files({"name": "x.png", "mimeType": "image/png", "buffer": b"no picture"})
    page.wait_for_selector(".failed[role=alert]")
    assert "What to do" in page.inner_text(".failed[role=alert]")
    assert page.locator(".text-search input").count() == 0
    assert "knows no words" in page.inner_text(".search-ways")


def test_a_picture_that_is_dropped_is_searched_by(enter, ask):
    person, jpeg = with_picture(ask)
    page = enter("operator", "search")
    page.wait_for_selector(".drop")
    page.evaluate(
        """bytes => {
          const data = new DataTransfer();
          data.items.add(new File([new Uint8Array(bytes)], "who.jpg", { type: "image/jpeg" }));
          const drop = new DragEvent("drop", { dataTransfer: data, bubbles: true });
          document.querySelector(".drop").dispatchEvent(drop);
        }""",
        list(jpeg),
    )
    page.wait_for_selector(f".matches a.person:has-text('{person}')")


def test_a_search_by_somebody_asks_once_and_tells_no_error(enter, ask):
    person, _ = with_picture(ask)
    page = enter("operator", "identities")
    asked = []
    page.on("request", lambda request: "/similar" in request.url and asked.append(request.url))
    page.evaluate("id => { location.hash = `#/search?like=${id}` }", person)
    page.wait_for_selector(".matches, section .state-title")
    assert page.query_selector("[role=alert]") is None
    assert len(asked) == 1


def test_a_search_by_one_stay_of_somebody(enter, ask):
    person, _ = with_picture(ask)
    page = enter("operator", f"identities/{person}")
    asked = []
    page.on("request", lambda request: "/similar" in request.url and asked.append(request.url))
    page.locator("details.stays summary").click()
    row = page.locator("details.stays tbody tr").first
    camera, track = row.locator("td").first.inner_text(), row.locator("td").last.inner_text()
    row.get_by_role("link", name="alike").click()
    page.wait_for_selector(f".asked-for:has-text('in the stay {camera}/{track}')")
    page.wait_for_selector(".matches, section .state-title")
    assert page.query_selector("[role=alert]") is None
    assert [each.split("?")[1] for each in asked] == [f"camera={camera}&track={track}"]


def test_viewers_are_told_that_they_may_not_search(enter):
    page = enter("viewer", "search")
    page.wait_for_selector(".state-title:has-text('may not see')")
    assert page.query_selector(".drop") is None


def test_a_map_is_drawn_by_keyboard_and_kept(enter, ask):
    page = enter("admin", "map")
    node = page.locator(".node", has_text="street")
    node.focus()
    for _ in range(3):
        page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowUp")
    page.wait_for_selector(".save:has-text('Not saved yet')")
    form = page.get_by_role("form", name="Give a way")
    form.locator("select").first.select_option("street")
    form.locator("select").last.select_option("door")
    form.get_by_label("Least, seconds").fill("4")
    form.get_by_label("Most, seconds").fill("10")
    page.keyboard.press("Enter")
    page.get_by_role("button", name="Save").press("Enter")
    page.wait_for_selector(".save:has-text('Saved.')")
    assert page.evaluate(AUDIT) == []
    kept = ask("/topology").json()
    places = {each["id"]: (each["x"], each["y"]) for each in kept["cameras"]}
    assert places["street"] == pytest.approx((0.56, 0.12), abs=0.01)  # from the top of the ring
    given = [each for each in kept["links"] if each["given"]]
    assert [(g["from"], g["to"], g["p05_s"], g["median_s"], g["p95_s"]) for g in given] == [
        ("street", "door", 4, 7, 10)
    ]
    # Whoever only looks sees it, and can change nothing.
    other = enter("viewer", "map")
    other.wait_for_selector(".link.given")
    assert other.query_selector(".save") is None
    assert other.query_selector(".node.movable") is None
    page.get_by_role("button", name="Remove the way from street to door").click()
    page.get_by_role("button", name="Save").click()
    page.wait_for_selector(".save:has-text('Saved.')")
    assert not any(each["given"] for each in ask("/topology").json()["links"])


def test_a_camera_is_dragged_and_put_back(enter):
    page = enter("admin", "map")
    node = page.locator(".node", has_text="door")
    before = node.get_attribute("transform")
    box = node.locator("circle").bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.mouse.down()
    page.mouse.move(box["x"] - 60, box["y"] - 40, steps=4)
    page.mouse.up()
    page.wait_for_selector(".save:has-text('Not saved yet')")
    assert node.get_attribute("transform") != before
    page.get_by_role("button", name="Drop changes").click()
    page.wait_for_selector(".save:has-text('Changes dropped')")
    assert node.get_attribute("transform") == before
