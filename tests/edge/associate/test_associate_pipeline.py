"""Association on made embeddings: the hard rule always, identities where they can be told."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crosscam_edge.associate import AssociationConfig, Reason, associate
from crosscam_edge.associate.constraints import Spans, every_pair
from crosscam_edge.associate.travel import learn_travel
from crosscam_edge.types import Tracklet
from crosscam_kernels.errors import InputError


def make(camera, track, start, end, embeddings):
    return Tracklet(
        camera, track, int(start * 1e8), int(end * 1e8), start, end, end - start + 1,
        np.zeros(4, np.float32), np.zeros(4, np.float32), (640, 480),
        embeddings.astype(np.float32), np.arange(len(embeddings), dtype=np.int64),
        np.ones(len(embeddings), np.float32),
    )  # fmt: skip


def site(visits, *, seed=0, dim=128, bias=0.5, noise=0.4, common=1.0):
    """`visits`: (camera, person, start); each person has a direction, each camera a bias."""
    rng = np.random.default_rng(seed)
    people = {p: rng.normal(size=dim) for p in sorted({v[1] for v in visits})}
    casts = {c: bias * rng.normal(size=dim) for c in sorted({v[0] for v in visits})}
    base, out = common * rng.normal(size=dim), []
    for number, (camera, person, start) in enumerate(visits, start=1):
        look = base + people[person] + casts[camera] + noise * rng.normal(size=dim)
        e = look + noise * rng.normal(size=(6, dim))
        out.append(
            make(camera, number, start, start + 40, e / np.linalg.norm(e, axis=1, keepdims=True))
        )
    return out


def ids(tracklets, **config):
    result = associate(tracklets, model_id="m", config=AssociationConfig(**config))
    return [a.global_id for a in result.assignments]


def pair_f1(found, truth):
    found, truth = np.array(found), np.array(truth)
    upper = np.triu_indices(len(truth), 1)
    same = (found[:, None] == found[None])[upper]
    real = (truth[:, None] == truth[None])[upper]
    return 2 * (same & real).sum() / max(same.sum() + real.sum(), 1)


def overlaps(a, b):
    return (
        a.camera_id == b.camera_id and a.start_frame <= b.end_frame and b.start_frame <= a.end_frame
    )


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 3), st.integers(0, 4), st.integers(0, 200), st.integers(0, 60)),
        max_size=25,
    ),
    st.integers(0, 99),
    st.sampled_from([0.0, 0.05, 0.5]),
)
def test_one_identity_is_never_twice_in_a_camera_at_once(spans, seed, noise):
    rng = np.random.default_rng(seed)
    people = rng.normal(size=(5, 16))
    tracklets = []
    for number, (camera, person, start, length) in enumerate(spans):
        e = people[person] + noise * rng.normal(size=(5, 16))
        e /= np.linalg.norm(e, axis=1, keepdims=True)
        tracklets.append(make(f"c{camera}", number, start, start + length, e))
    found = ids(tracklets)
    assert len(found) == len(tracklets)
    for i, a in enumerate(tracklets):
        for j, b in enumerate(tracklets[:i]):
            assert not (found[i] == found[j] and overlaps(a, b))
    # The outcome does not depend on the order in which tracklets are given.
    shuffle = rng.permutation(len(tracklets))
    again = ids([tracklets[i] for i in shuffle])
    assert [found[i] for i in shuffle] == again


def crowd(people, cameras, step=15, stay=100):
    return [(f"c{c}", p, p * step + c * stay) for c in range(cameras) for p in range(people)]


@pytest.mark.parametrize("cameras", [2, 4, 8])
@pytest.mark.parametrize("people", [3, 8, 25])
def test_people_keep_their_identity_across_cameras(people, cameras):
    visits = crowd(people, cameras)
    truth = [v[1] for v in visits]
    found = [pair_f1(ids(site(visits, seed=seed)), truth) for seed in range(3)]
    assert min(found) >= 0.95


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(("people", "cameras"), [(2, 2), (12, 2), (12, 4), (40, 3)])
def test_strangers_stay_strangers(people, cameras, seed):
    visits = [(f"c{n % cameras}", n, n * 12) for n in range(people)]
    found = ids(site(visits, seed=seed))
    assert len(set(found)) >= 0.9 * people


@pytest.mark.parametrize("seed", range(5))
def test_one_person_in_two_cameras_is_one(seed):
    visits = [(f"c{n % 2}", 0, n * 100) for n in range(6)]
    assert len(set(ids(site(visits, seed=seed)))) == 1


@pytest.mark.parametrize("seed", range(5))
def test_two_people_in_two_cameras_are_two(seed):
    visits = [(f"c{n % 2}", n % 4 // 2, n * 100) for n in range(8)]
    assert pair_f1(ids(site(visits, seed=seed)), [v[1] for v in visits]) == 1.0


def test_a_camera_with_one_tracklet_does_not_hurt():
    visits = [*crowd(8, 2), ("lone", 3, 900)]
    assert pair_f1(ids(site(visits)), [v[1] for v in visits]) >= 0.95


def test_return_to_the_same_camera_is_recognised():
    visits = [("c", p, p * 15 + lap * 4000) for lap in range(3) for p in range(6)]
    assert pair_f1(ids(site(visits)), [v[1] for v in visits]) >= 0.95


def test_a_second_tracklet_on_a_person_does_not_split_them():
    """Half of a person's tracklets resemble a doubled one; only the doubled one may be lost."""
    visits = [(f"c{c}", p, p * 15 + lap * 900 + c * 100) for lap in range(2) for c in range(3)
              for p in range(8)]  # fmt: skip
    items = site(visits, seed=1)
    of = [i for i, v in enumerate(visits) if v[1] == 4]
    # The person turns around after the first lap, and is tracked twice then and there.
    rng = np.random.default_rng(0)
    turn = 0.06 * rng.normal(size=128)
    for i in of[3:]:
        e = items[i].embeddings + turn
        items[i].embeddings = (e / np.linalg.norm(e, axis=1, keepdims=True)).astype(np.float32)
    first, last = items[of[0]], items[of[-1]]
    items.append(
        make("c0", 999, first.start_frame + 20, first.end_frame + 9, last.embeddings.copy())
    )
    found = ids(items)
    assert pair_f1(found[:-1], [v[1] for v in visits]) >= 0.99
    assert found[-1] != found[of[0]]


@pytest.mark.parametrize("alike", [0.5, 0.8, 0.9])
def test_look_alikes_seen_together_stay_two(alike):
    """Pairs in nearly equal clothes; only one of four cameras sees both of a pair at once."""
    rng = np.random.default_rng(77)
    pairs, common = rng.normal(size=(8, 128)), rng.normal(size=128)
    own, casts = rng.normal(size=(16, 128)), 0.5 * rng.normal(size=(4, 128))
    items, truth = [], []
    for camera in range(4):
        for person in range(16):
            start = person // 2 * 120 + person % 2 * (50 if camera else 10) + camera * 1500
            look = np.sqrt(alike) * pairs[person // 2] + np.sqrt(1 - alike) * own[person]
            look = look + common + casts[camera] + 0.4 * rng.normal(size=128)
            e = look + 0.4 * rng.normal(size=(6, 128))
            e /= np.linalg.norm(e, axis=1, keepdims=True)
            items.append(make(f"c{camera}", len(items), start, start + 40, e))
            truth.append(person)
    assert pair_f1(ids(items), truth) >= 0.95


def test_overlapping_views_share_people_when_told():
    visits = [(f"c{c}", p, p * 15) for c in range(2) for p in range(8)]
    told = frozenset({frozenset({"c0", "c1"})})
    truth = [v[1] for v in visits]
    assert pair_f1(ids(site(visits), overlapping=told), truth) >= 0.95
    # And separate views never do.
    found = ids(site(visits), separate=told)
    assert len(set(found)) == len(visits)


def test_nobody_is_faster_than_the_given_transit():
    visits = crowd(8, 2)  # 6 s from c0 to c1
    truth = [v[1] for v in visits]
    assert pair_f1(ids(site(visits), least_transit_s={("c0", "c1"): 5.0}), truth) >= 0.95
    assert len(set(ids(site(visits), least_transit_s={("c0", "c1"): 9.0}))) == len(visits)


def test_haste_counts_against_a_pair_only_after_many_transits():
    spans = Spans.of(
        [make("a", 1, 0, 100, np.zeros((0, 4))), make("b", 2, 110, 200, np.zeros((0, 4)))]
    )

    def odds(transits):
        travel = learn_travel(spans, ["a", "b"], {("a", "b"): transits}, AssociationConfig())
        return travel.judge(spans, *every_pair(2), spans.shared(*every_pair(2)))

    assert not odds([20.0] * 7)[0].any()
    assert not odds([20.0] * 30 + [3.0])[0].any()
    found, impossible = odds([20.0] * 30)
    assert found[0, 1] == found[1, 0] < -1
    assert not impossible.any()


def test_a_way_that_was_given_counts_as_if_it_had_been_learned():
    spans = Spans.of(
        [make("a", 1, 0, 100, np.zeros((0, 4))), make("b", 2, 110, 200, np.zeros((0, 4)))]
    )

    def odds(given, transits=()):
        config = AssociationConfig(usual_transit_s=given)
        travel = learn_travel(spans, ["a", "b"], {("a", "b"): transits}, config)
        return travel.judge(spans, *every_pair(2), spans.shared(*every_pair(2)))

    found, impossible = odds({("a", "b"): 20.0})
    assert found[0, 1] == found[1, 0] < -1
    assert not impossible.any()
    assert not odds({("b", "a"): 20.0})[0].any()  # the other way
    assert not odds({("a", "b"): 20.0}, [3.0])[0].any()  # somebody was quicker
    assert not odds({})[0].any()


def test_nothing_and_no_looks():
    assert ids([]) == []
    blind = [make("a", n, n * 100, n * 100 + 5, np.zeros((0, 8))) for n in range(3)]
    assert ids(blind) == [1, 2, 3]


def test_lineage_says_why():
    visits = crowd(6, 3)
    result = associate(site(visits), model_id="m")
    first = {}
    for a in sorted(result.assignments, key=lambda a: a.key.track_id):
        if a.reason is Reason.CREATED:
            assert a.matched_to is None
            assert a.global_id not in first
            first[a.global_id] = a.key
        else:
            assert a.score > a.runner_up
            assert a.runner_up_id not in (0, a.global_id)
    assert result.calibration.source == "run"
    assert result.calibration.impostor.sum() >= 12
    assert set(result.transits) <= {(a, b) for a in ("c0", "c1", "c2") for b in ("c0", "c1", "c2")}


def test_bad_input_is_named():
    a, b = site([("a", 0, 0), ("a", 1, 100)])
    b.track_id = a.track_id
    with pytest.raises(InputError, match="Two tracklets"):
        ids([a, b])
    b.track_id, b.embeddings = 9, b.embeddings[:, :5]
    with pytest.raises(InputError, match="2 lengths"):
        ids([a, b])
    b.embeddings = np.full((2, 128), np.nan, np.float32)
    with pytest.raises(InputError, match="not finite"):
        ids([a, b])
