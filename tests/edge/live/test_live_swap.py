"""Another model in the middle of a live run: ids stay, and whatever fails leaves the old one."""

from __future__ import annotations

import json
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from test_live_batches import ManySame
from test_live_run import CLOCK, BarDetector, SameEmbedder

from crosscam_deploy import zoo
from crosscam_edge.associate import AssociationConfig
from crosscam_edge.cli import main
from crosscam_edge.config import CameraConfig, SiteConfig
from crosscam_edge.embed.colour import ColourEmbedder
from crosscam_edge.embed.select import choose_embedder
from crosscam_edge.gallery import Gallery, store
from crosscam_edge.live import swap as swap_module
from crosscam_edge.live import swap_files
from crosscam_edge.live.analysis import CameraAnalysis
from crosscam_edge.live.batches import ManyEmbedder, pictures_a_call
from crosscam_edge.live.open import live_cameras
from crosscam_edge.live.run import LiveRun
from crosscam_edge.live.swap import Beside, KeptCrop, SwapState, beside
from crosscam_edge.live.swap_files import SwapRequest, SwapRequests, ask_for_swap
from crosscam_edge.opening import Models
from crosscam_edge.types import TrackletKey
from crosscam_kernels.errors import CrosscamError, InputError, RunError


@dataclass
class LookEmbedder:
    """By the colours of a crop, in a space of its own; may break."""

    name: str = "look"
    model_id: str = "look"
    dim: int = 16
    inference_seconds: float = 0.0
    unusable: int = 0
    breaks_after: int = 1_000_000
    closed: int = 0
    calls: int = 0

    def embed(self, image, boxes):
        self.calls += 1
        if self.calls > self.breaks_after:
            raise ValueError("the new one breaks")
        out = np.ones((len(boxes), self.dim), np.float32)
        for row, (x1, y1, x2, y2) in zip(out, np.round(boxes).astype(int), strict=True):
            crop = image[max(y1, 0) : y2, max(x1, 0) : x2]
            row[:3] += crop.mean(axis=(0, 1)) / 20
            row[3] += crop[: len(crop) // 2].mean() / 5
        return out / np.linalg.norm(out, axis=1, keepdims=True)

    def close(self):
        self.closed += 1


@contextmanager
def running(videos, embedder, *, gallery=None, cameras=("hall",)):
    """A live run; gives it and what it tells."""
    settings = SiteConfig(
        cameras=[CameraConfig(id=name, video=str(videos / f"{name}.mp4")) for name in cameras]
    )
    told, runs = [], []
    sources = live_cameras(settings, CLOCK.now_ns, lambda: runs[0].wake() if runs else None)
    run = LiveRun(
        sources, settings, Models(BarDetector(), embedder, {}, 1), site=AssociationConfig(),
        now_ns=CLOCK.now_ns, emit=told.append, tracks=True, gallery=gallery,
    )  # fmt: skip
    runs.append(run)
    stop = threading.Event()
    thread = threading.Thread(target=run.run, args=(stop,))
    thread.start()
    try:
        yield run, told
    finally:
        stop.set()
        thread.join(30)
        assert not thread.is_alive()


def wait_for(condition, seconds=120.0):
    ends = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < ends
        time.sleep(0.02)


def ids(told, since=0):
    return {
        person["global_id"]
        for record in told[since:]
        if record["type"] == "tracks"
        for person in record["people"]
        if person["global_id"]
    }


def test_ids_survive_a_swap_and_it_is_told(large, tmp_path):
    now = CLOCK.now_ns
    gallery = Gallery(tmp_path / "gallery.db", model_id="same", dim=8, now_ns=now)
    new = LookEmbedder()
    with running(large, SameEmbedder(), gallery=gallery) as (run, told):
        wait_for(lambda: ids(told) == {1})
        swap = run.service.swap(lambda: new, beside_s=600)
        with pytest.raises(RunError, match="another swap goes on"):
            run.service.swap(lambda: new)
        wait_for(lambda: swap.seen > 0)  # the old one's embeddings are all the same
        swap.hasten()
        report = swap.wait(30)
        assert report.state is SwapState.SWAPPED, report
        assert (report.old, report.new, report.people, report.lost) == ("same", "look", 1, 0)
        assert run.embedder is new
        assert run.identities.online.model_id == "look"
        since, calls = len(told), new.calls
        wait_for(lambda: ids(told, since) and new.calls > calls + 3)
    assert ids(told) == {1}
    assert [r["state"] for r in told if r["type"] == "model"] == ["swapped"]
    json.dumps(told, allow_nan=False)
    assert new.closed == 1
    gallery.close()
    # A restart with the new model knows the person; one with the old model does not see new crops.
    again = Gallery(tmp_path / "gallery.db", model_id="look", dim=16, now_ns=now)
    assert {owner for _, owner in again.restore(0).tracklets} == {1}
    again.close()


def test_real_bundles_are_swapped(large):
    try:
        zoo.resolve("person-reidentification-retail-0277")
    except CrosscamError:
        pytest.skip("no second ReID model on this machine (CROSSCAM_MODELS)")
    old, _ = choose_embedder("crosscam-reid", threads=1)
    with running(large, old) as (run, told):
        wait_for(lambda: ids(told))
        before = ids(told)
        swap = run.service.swap(
            lambda: choose_embedder("person-reidentification-retail-0277", threads=1)[0],
            beside_s=600,
        )
        wait_for(lambda: swap.seen > 8)  # of more than one passage
        swap.hasten()
        report = swap.wait(60)
        assert report.state is SwapState.SWAPPED, report
        assert report.old == old.model_id != report.new == run.embedder.model_id
        assert report.people >= 1
        since = len(told)
        wait_for(lambda: ids(told, since))
        known = {each.global_id for each in run.identities.online.people}
        assert known & before
    old.close()


@pytest.mark.parametrize(
    ("opened", "reason"),
    [
        (SameEmbedder, "the model that serves already"),
        (lambda: SameEmbedder(model_id="other"), "alike to pictures that have nothing in common"),
        (lambda: LookEmbedder(breaks_after=0), "ValueError: the new one breaks"),
        (lambda: LookEmbedder(breaks_after=3), "ValueError: the new one breaks"),
        (lambda: choose_embedder("no-such-model"), "no-such-model"),
        (ColourEmbedder, "the calibration is of model"),
    ],
    ids=["same", "constant", "broken", "breaks beside", "unknown", "calibration"],
)
def test_whatever_fails_leaves_the_old_one_serving(large, opened, reason):
    def learned(model_id):
        if model_id == ColourEmbedder().model_id:
            raise InputError("the calibration is of model x, the run uses another")

    old = SameEmbedder()
    with running(large, old) as (run, told):
        wait_for(lambda: ids(told) == {1})
        report = run.service.swap(opened, beside_s=600, learned=learned).wait(60)
        assert report.state is SwapState.REFUSED
        assert reason in str(report.reason)
        assert run.embedder is old
        wait_for(lambda: any(r["type"] == "model" for r in told))
        since = len(told)
        wait_for(lambda: ids(told, since) == {1})
        # and another try is welcome
        assert run.service.swap(LookEmbedder, beside_s=1.0).wait(60).state is SwapState.SWAPPED
        wait_for(lambda: [r["state"] for r in told if r["type"] == "model"] == [
            "refused", "swapped",
        ])  # fmt: skip
    assert not run.failures()


def test_the_end_of_a_run_ends_a_swap(large):
    new = LookEmbedder()
    with running(large, SameEmbedder()) as (run, told):
        wait_for(lambda: ids(told))
        swap = run.service.swap(lambda: new, beside_s=600)
        wait_for(lambda: swap.report.state is SwapState.BESIDE)
    assert swap.wait(30).state is SwapState.REFUSED
    wait_for(lambda: new.closed == 1)


def test_a_fault_beside_is_kept_and_the_answer_is_the_old_ones(large):
    image = np.zeros((64, 32, 3), np.uint8)
    box = np.array([[0, 0, 32, 64]], np.float32)
    beside = Beside(SameEmbedder(), LookEmbedder(breaks_after=1))
    for _ in range(3):
        np.testing.assert_array_equal(beside.embed(image, box), SameEmbedder().embed(image, box))
    assert isinstance(beside.fault, ValueError)
    assert len(beside.translation) == 1


def test_pictures_that_were_kept_are_enough(large):
    done, jpeg = cv2.imencode(".jpg", np.full((200, 70, 3), 220, np.uint8))
    assert done
    with running(large, SameEmbedder()) as (run, told):
        wait_for(lambda: ids(told) == {1})

        def pictures():
            members = run.ask(lambda: list(run.identities.online.people.by_id[1].members.values()))
            for each in members.result(10):
                tracklet = each.tracklet
                yield KeptCrop(tracklet.key, int(tracklet.embedding_times_ns[0]), jpeg.tobytes())
                yield KeptCrop(tracklet.key, -5, jpeg.tobytes())  # of another time
                yield KeptCrop(tracklet.key, int(tracklet.embedding_times_ns[0]), b"no picture")
            yield KeptCrop(TrackletKey("nowhere", 1), 5, jpeg.tobytes())

        report = run.service.swap(LookEmbedder, beside_s=0, kept=pictures).wait(60)
        assert (report.state, report.people, report.lost) == (SwapState.SWAPPED, 1, 0)
        known = run.ask(lambda: run.identities.online.people.by_id[1].members).result(10)
        assert all(m.tracklet.embeddings.shape[1] == LookEmbedder.dim for m in known.values())


def test_another_process_asks_by_files(large, tmp_path, monkeypatch):
    monkeypatch.setattr(swap_files, "_HEARD_S", 30.0)
    (tmp_path / "swap-request.json").write_text("{}")  # of before the run
    with running(large, SameEmbedder()) as (run, told):
        wait_for(lambda: ids(told) == {1})
        requests, over = SwapRequests(tmp_path, run, threads=1, streams=1), threading.Event()
        assert not (tmp_path / "swap-request.json").exists()

        def poll():
            while not over.wait(0.05):
                requests.poll()

        thread = threading.Thread(target=poll)
        thread.start()
        try:
            refused = ask_for_swap(tmp_path, SwapRequest.of("no-such-model", 1.0, None))
            report = ask_for_swap(tmp_path, SwapRequest.of("colour", 2.0, None))
        finally:
            over.set()
            thread.join()
        assert refused.state is SwapState.REFUSED
        assert "no-such-model" in str(refused.reason)
        assert report.state is SwapState.SWAPPED
        assert run.embedder.model_id == report.new == ColourEmbedder().model_id


def test_nobody_answers(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(swap_files, "_HEARD_S", 0.5)
    with pytest.raises(SystemExit) as left:
        main(["swap", str(tmp_path), "colour", "--beside", "0"])
    assert left.value.code == RunError.exit_code
    assert "no run answers" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


class ManyLook(LookEmbedder):
    """Takes the people of several pictures in one call."""

    def embed_many(self, asked):
        return [self.embed(image, boxes) for image, boxes in asked]


@pytest.mark.parametrize("other", [LookEmbedder, ManyLook])
def test_cameras_share_calls_during_a_trial_too(other):
    serving = ManySame()
    serving.runtime = SimpleNamespace(device="CUDA", max_batch=6)
    trial = beside(serving, other())
    assert isinstance(trial, ManyEmbedder)
    assert pictures_a_call(trial) == pictures_a_call(serving) == 6
    box = np.array([[0, 0, 32, 64]], np.float32)
    asked = [(np.full((64, 32, 3), shade, np.uint8), box) for shade in (1, 2, 3)]
    asked.append((asked[0][0], box[:0]))  # nobody there
    answers = trial.embed_many(asked)
    assert serving.calls == [4]
    for found, right in zip(answers, ManySame().embed_many(asked), strict=True):
        np.testing.assert_array_equal(found, right)
    assert len(trial.translation) == 3
    rows, known = trial.translation.of(answers[1])
    assert known.all()
    np.testing.assert_array_equal(rows, LookEmbedder().embed(*asked[1]))
    # a picture that breaks the serving one is nobody's fault but its own
    with pytest.raises(ValueError, match="black"):
        trial.embed_many([(np.zeros((64, 32, 3), np.uint8), box)])
    assert trial.fault is None
    assert not isinstance(beside(SameEmbedder(), other()), ManyEmbedder)


@pytest.mark.parametrize("where", ["tracks", "gallery"])
def test_what_fails_while_it_takes_over_leaves_everything_as_it_was(
    large, tmp_path, monkeypatch, where
):
    gallery = Gallery(tmp_path / "gallery.db", model_id="same", dim=8, now_ns=CLOCK.now_ns)
    old, new = SameEmbedder(), LookEmbedder()
    right = {"tracks": CameraAnalysis.translated, "gallery": store.row_of}[where]

    def tracks(self, translation):
        if self is last[0]:
            raise MemoryError("no room for the tracks")
        return right(self, translation)

    def row_of(tracklet, owner, model_id):
        if model_id == "look":
            raise MemoryError("no room for the rows")
        return right(tracklet, owner, model_id)

    with running(large, old, gallery=gallery, cameras=("hall", "yard")) as (run, told):
        wait_for(lambda: ids(told))
        last = [run._watched[-1].analysis]  # the first one is done by then
        if where == "tracks":
            monkeypatch.setattr(CameraAnalysis, "translated", tracks)
        else:
            monkeypatch.setattr(store, "row_of", row_of)
        swap = run.service.swap(lambda: new, beside_s=600)
        wait_for(lambda: swap.seen > 0)
        before = run.identities.online
        swap.hasten()
        report = swap.wait(30)
        assert report.state is SwapState.REFUSED
        assert "no room" in str(report.reason)
        assert run.embedder is old
        assert run.identities.online is before
        wait_for(lambda: new.closed == 1)
        since, frames = len(told), run.looked_at()
        wait_for(lambda: ids(told, since) and run.looked_at()["hall"] > frames["hall"] + 10)
        assert before.model_id == "same"
    assert not run.failures()
    gallery.close()
    again = Gallery(tmp_path / "gallery.db", model_id="same", dim=8, now_ns=CLOCK.now_ns)
    assert again.restore(0).tracklets
    again.close()
    other = Gallery(tmp_path / "gallery.db", model_id="look", dim=16, now_ns=CLOCK.now_ns)
    assert not other.restore(0).tracklets
    other.close()


def test_a_run_that_does_not_come_round_keeps_the_old_model(large, monkeypatch):
    """What was given up is not done later, when nobody waits for it any more."""
    old, new, held = SameEmbedder(), LookEmbedder(), threading.Event()
    with running(large, old) as (run, told):
        wait_for(lambda: ids(told))
        swap = run.service.swap(lambda: new, beside_s=600)
        wait_for(lambda: swap.report.state is SwapState.BESIDE and swap.seen)
        monkeypatch.setattr(swap_module, "_ANSWER_S", 0.2)
        busy = run.ask(lambda: held.wait(30))
        wait_for(busy.running)
        swap.hasten()
        wait_for(lambda: swap.report.state is SwapState.REFUSED)
        held.set()
        wait_for(lambda: new.closed == 1)
        assert run.embedder is old
        assert run.identities.online.model_id == "same"


def test_a_model_that_cannot_be_closed_does_not_stop_the_next(large):
    class Stuck(LookEmbedder):
        def close(self):
            raise OSError("it hangs")

    with running(large, SameEmbedder()) as (run, told):
        wait_for(lambda: ids(told))
        assert run.service.swap(Stuck, beside_s=0.5).wait(30).state is SwapState.SWAPPED
        newest = LookEmbedder(model_id="newest")
        assert run.service.swap(lambda: newest, beside_s=0.5).wait(30).state is SwapState.SWAPPED
        assert run.embedder is newest
        assert newest.closed == 0
