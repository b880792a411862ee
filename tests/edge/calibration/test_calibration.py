"""A site's calibration: measured on certain pairs, bound to its model, and used."""

from __future__ import annotations

import json
from html.parser import HTMLParser

import numpy as np
import pytest

from crosscam_edge.associate import AssociationConfig, associate
from crosscam_edge.associate.online import EventKind, IdentityEvent, OnlineAssociation
from crosscam_edge.calibration.file import learned_from, read_calibration, write_calibration
from crosscam_edge.calibration.footage import Footage, read_footage
from crosscam_edge.calibration.measure import calibrate, rates, threshold_at
from crosscam_edge.calibration.page import page
from crosscam_edge.cli import main
from crosscam_edge.gallery import Gallery
from crosscam_edge.types import Tracklet
from crosscam_kernels.errors import InputError, UsageError

DIM, MODEL = 64, "m" * 64
SECOND = 1_000_000_000


def site(people, cameras=2, *, first=0, seed=0, bias=1.2, common=2.0, noise=0.35):
    """People who walk through all cameras, three at a time; every camera has its own colours."""
    world = np.random.default_rng(7)
    base = common * world.normal(size=DIM)
    casts = bias * world.normal(size=(cameras, DIM))
    rng, out = np.random.default_rng([1, seed]), []
    for k, person in enumerate(range(first, first + people)):
        look = np.random.default_rng([2, person]).normal(size=DIM)
        for c in range(cameras):
            start = (k // 3) * 30 + c * 12 + (k % 3)
            seen = base + look + casts[c] + noise * rng.normal(size=DIM)
            e = seen + noise * rng.normal(size=(9, DIM))
            e /= np.linalg.norm(e, axis=1, keepdims=True)
            times = np.linspace(start * SECOND, (start + 8) * SECOND, 9).astype(np.int64)
            box = np.zeros(4, np.float32)
            out.append(
                Tracklet(
                    f"c{c}", person + 1, int(times[0]), int(times[-1]), start * 10,
                    start * 10 + 80, 81, box, box, (640, 480), e.astype(np.float32), times,
                    np.ones(9, np.float32),
                )
            )  # fmt: skip
    return out


@pytest.fixture(scope="module")
def known():
    return calibrate(Footage(MODEL, site(24)), run="yard")


def wrong_pairs(tracklets, learned):
    """How many pairs are joined wrongly, or are not joined."""
    solved = associate(tracklets, model_id=MODEL, config=AssociationConfig(learned=learned))
    ids = np.array([a.global_id for a in solved.assignments])
    people = np.array([t.track_id for t in tracklets])
    return int((np.equal.outer(ids, ids) != np.equal.outer(people, people)).sum()) // 2


def test_pairs_are_counted_and_the_point_is_on_the_curve(known):
    assert sum(known.impostor) == 2 * 24  # three at a time, in two cameras
    assert sum(known.genuine) == 48
    assert {name: each.people for name, each in known.cameras.items()} == {"c0": 24, "c1": 24}
    point = known.operating_point
    edges = np.linspace(-1, 1, 101)
    match, missed = rates(np.array(known.genuine), np.array(known.impostor))
    near = int(np.argmin(abs(edges - point.threshold)))
    assert match[min(near + 1, 100)] <= point.fmr <= match[max(near - 1, 0)]
    assert missed[max(near - 1, 0)] <= point.fnmr <= missed[min(near + 1, 100)]
    assert known.across.impostor[0] < point.threshold < known.across.genuine[0]


def test_few_people_are_told_apart_by_what_many_have_taught(known):
    alone = calibrated = 0
    for seed in range(5):
        tracklets = site(2, first=100 + 2 * seed, seed=seed + 1)
        alone += wrong_pairs(tracklets, None)
        calibrated += wrong_pairs(tracklets, known.learned())
    assert calibrated == 0 < alone


def test_a_live_run_knows_the_site_from_its_first_decision(known):
    tracklets = sorted(site(2, first=100, seed=1), key=lambda t: t.end_ns)

    def told(learned) -> list[IdentityEvent]:
        config = AssociationConfig(learned=learned)
        online = OnlineAssociation(dim=DIM, model_id=MODEL, site=config)
        events = []
        for tracklet in tracklets:
            online.observe(tracklet, ended=True)
            events += online.step(tracklet.end_ns)
        return events

    kinds = [event.kind for event in told(known.learned())]
    assert kinds == [EventKind.NEW, EventKind.NEW, EventKind.MATCHED, EventKind.MATCHED]
    assert [e.odds for e in told(None)] != [e.odds for e in told(known.learned())]


def test_a_false_match_rate_raises_the_threshold_and_joins_nobody_below_it(known):
    tracklets = site(24)
    shuffled = np.random.default_rng(0).normal(size=(24, DIM))  # look-alikes: impostors overlap
    for k, t in enumerate(tracklets):
        t.embeddings[:] = 0.6 * t.embeddings + 0.1 * shuffled[(k // 2) // 3]
        t.embeddings /= np.linalg.norm(t.embeddings, axis=1, keepdims=True)
    learned = calibrate(Footage(MODEL, tracklets), run="yard")
    strict = calibrate(Footage(MODEL, tracklets), run="yard", fmr=1 / 40)
    assert strict.operating_point.threshold > learned.operating_point.threshold
    assert strict.operating_point.chosen == "fmr"
    assert strict.operating_point.fmr <= 1 / 40 < learned.operating_point.fmr
    solved = associate(
        tracklets, model_id=MODEL, config=AssociationConfig(learned=strict.learned())
    )
    assert solved.calibration.threshold >= strict.operating_point.threshold - 1e-9


def test_a_rate_that_nobody_can_tell_is_refused(known):
    edges = np.linspace(-1, 1, 101)
    with pytest.raises(InputError, match="cannot tell a false match rate"):
        threshold_at(np.array(known.impostor), edges, 0.001)
    with pytest.raises(UsageError, match="fmr is 1"):
        calibrate(Footage(MODEL, site(24)), run="yard", fmr=1.0)


def test_too_little_footage_is_refused():
    with pytest.raises(InputError, match="too little was seen"):
        calibrate(Footage(MODEL, site(3)), run="yard")


def test_the_file_is_small_comes_back_and_is_bound_to_its_model(known, tmp_path):
    path = tmp_path / "calibration.json"
    write_calibration(path, known)
    assert path.stat().st_size < 20_000
    assert read_calibration(path) == known
    assert learned_from(None, MODEL) is None
    found = learned_from(path, MODEL)
    assert found is not None
    assert found.across == known.learned().across
    with pytest.raises(InputError, match="the calibration is of model mmmm"):
        learned_from(path, "n" * 64)
    with pytest.raises(InputError, match="calibrate anew"):
        associate(site(2), model_id="n" * 64, config=AssociationConfig(learned=known.learned()))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"schema_version": 2}, "schema_version"),
        ({"impostors": [0.1, 0.0]}, "not positive"),
        ({"genuine": [1, 2]}, "genuine"),
        ({"model_id": ""}, "model_id"),
        ({"more": 1}, "more"),
    ],
)
def test_a_damaged_file_is_refused(known, tmp_path, change, says):
    path = tmp_path / "calibration.json"
    path.write_text(json.dumps({**known.model_dump(mode="json"), **change}))
    with pytest.raises(InputError, match=says):
        read_calibration(path)


def test_casts_of_different_lengths_are_refused(known, tmp_path):
    data = known.model_dump(mode="json")
    data["cameras"]["c0"]["shift"].pop()
    (tmp_path / "calibration.json").write_text(json.dumps(data))
    with pytest.raises(InputError, match="differ in length"):
        read_calibration(tmp_path / "calibration.json")


def test_no_file_and_no_json_are_told(tmp_path):
    with pytest.raises(InputError, match="cannot be read"):
        read_calibration(tmp_path / "nothing.json")
    (tmp_path / "text.json").write_text("no json")
    with pytest.raises(InputError, match="cannot be read"):
        read_calibration(tmp_path / "text.json")


def test_a_camera_that_is_new_has_what_all_have_in_common(known):
    learned = known.learned()
    shift = learned.shift_of(["c1", "new"], DIM)
    np.testing.assert_allclose(shift[0], known.cameras["c1"].shift)
    np.testing.assert_allclose(shift[1], learned.shift.mean(axis=0))
    run = np.ones((2, DIM))
    many = learned.blend(run, ["c0", "c1"], np.array([1e9, 0.0]))
    np.testing.assert_allclose(many[0], run[0], atol=1e-6)  # the run has seen more people
    np.testing.assert_allclose(many[1], known.cameras["c1"].shift)  # it has seen nobody


def test_the_gallery_of_a_live_run_is_footage(tmp_path, capsys):
    now = [10_000 * SECOND]
    with pytest.raises(InputError, match=r"run\.json"):
        read_footage(tmp_path)
    gallery = Gallery(tmp_path / "gallery.db", model_id=MODEL, dim=DIM, now_ns=lambda: now[0])
    for tracklet in site(24):
        gallery.put(tracklet, tracklet.track_id)
    assert gallery.writer.flush()
    footage = read_footage(tmp_path)  # while the run goes on
    assert footage.model_id == MODEL
    assert [t.key for t in footage.tracklets] == [
        t.key for t in sorted(site(24), key=lambda t: (t.start_ns, *t.key))
    ]
    with pytest.raises(SystemExit) as left:
        main(["calibrate", str(tmp_path), "--json"])
    assert left.value.code == 0
    summary = json.loads(capsys.readouterr().out)
    assert summary["pairs"] == {"genuine": 48, "impostor": 48}
    assert read_calibration(tmp_path / "calibration.json").model_id == MODEL
    gallery.close()


def test_the_page_holds_all_and_loads_nothing(known):
    found: list[tuple[str, dict[str, str | None]]] = []

    class Reader(HTMLParser):
        def handle_starttag(self, tag, attrs):
            found.append((tag, dict(attrs)))

    text = page(known.model_copy(update={"run": "<b>yard</b>"}))
    Reader().feed(text)
    assert "<b>yard" not in text
    assert sum(tag == "svg" for tag, _ in found) == 2
    assert not [attrs for _, attrs in found if {"src", "href"} & attrs.keys()]
    for tag, attrs in found:
        if tag == "rect":
            assert 0 <= float(attrs["y"] or -1) <= 300
            assert float(attrs["height"] or -1) >= 0
