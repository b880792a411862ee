"""Conventions of ground truth, scores across cameras, and the command."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from crosscam_edge.cli.evaluate import command
from crosscam_edge.evaluate import EvalOptions, evaluate_mot, evaluate_mtmc
from crosscam_edge.sinks.mot import MotSequence, write_mot
from crosscam_edge.sinks.mtmc import write_mtmc
from crosscam_kernels.errors import InputError, UsageError


def person(
    object_id: int, frames: range, x: float = 0.0, height: float = 50.0, **kw
) -> MotSequence:
    n = len(frames)
    boxes = np.tile([x, 0.0, x + 20, height], (n, 1))
    columns = {name: np.full(n, value) for name, value in kw.items()}
    return MotSequence.of(np.array(frames), np.full(n, object_id), boxes, **columns)


def together(*parts: MotSequence) -> MotSequence:
    columns = {
        name: np.concatenate([getattr(p, name) for p in parts]) for name in MotSequence.__slots__
    }
    return MotSequence(**columns).sorted()


@pytest.mark.parametrize(
    ("mark", "options"),
    [
        ({"confidence": 0.0}, EvalOptions()),
        ({"class_id": 8}, EvalOptions()),
        ({"visibility": 0.1}, EvalOptions(min_visibility=0.2)),
        ({"height": 30.0}, EvalOptions(ignore_below_height=40)),
    ],
)
def test_dont_care_rows_excuse_predictions(mark: dict, options: EvalOptions) -> None:
    gt = together(person(1, range(10)), person(2, range(10), x=100, **mark))
    height = mark.get("height", 50.0)
    pred = together(person(7, range(10)), person(8, range(10), x=100, height=height))
    scores = evaluate_mot(gt, pred, options)
    assert (scores.clear.fp, scores.clear.fn, scores.clear.mota) == (0, 0, 1.0)
    assert scores.gt_ignored == scores.pred_ignored == 10
    # Somebody invented elsewhere is still wrong.
    wrong = together(pred, person(9, range(10), x=300))
    assert evaluate_mot(gt, wrong, options).clear.fp == 10


def test_other_classes_excuse_nothing() -> None:
    gt = together(person(1, range(10)), person(2, range(10), x=100, class_id=3))
    pred = together(person(7, range(10)), person(8, range(10), x=100))
    assert evaluate_mot(gt, pred).clear.fp == 10


@pytest.mark.parametrize("bad", [{"iou": 0}, {"min_visibility": 2}, {"ignore_below_height": -1}])
def test_options_are_checked(bad: dict) -> None:
    with pytest.raises(UsageError):
        EvalOptions(**bad)


def test_union_sees_what_cameras_alone_do_not() -> None:
    gt = {"a": person(1, range(10)), "b": person(1, range(10))}
    broken = {"a": person(5, range(10)), "b": person(6, range(10))}
    scores = evaluate_mtmc(gt, broken)
    assert all(s.identity.idf1 == 1 for s in scores.cameras.values())
    assert scores.union.identity.idf1 == 0.5
    assert scores.union.clear.idsw == 1
    assert (scores.pairs.same, scores.pairs.joined, scores.pairs.recall) == (1, 0, 0.0)
    whole = evaluate_mtmc(gt, gt)
    assert whole.union.identity.idf1 == whole.cross_camera.idf1 == whole.pairs.f1 == 1


def test_cross_camera_scores_leave_out_people_of_one_camera() -> None:
    gt = {
        "a": together(person(1, range(10)), person(2, range(10), x=100)),
        "b": person(1, range(10)),
    }
    # Person 2, who is in one camera only, breaks in two: no matter across cameras.
    pred = {
        "a": together(
            person(1, range(10)), person(3, range(5), x=100), person(4, range(5, 10), x=100)
        ),
        "b": person(1, range(10)),
    }
    scores = evaluate_mtmc(gt, pred)
    assert scores.cross_camera_people == 1
    assert scores.cross_camera.idf1 == 1
    assert scores.union.identity.idf1 == pytest.approx(25 / 30)


def test_pairs_by_hand() -> None:
    gt = {
        "a": together(person(1, range(10)), person(2, range(10), x=100)),
        "b": together(person(1, range(10)), person(2, range(10), x=100)),
    }
    # Person 1 in two tracklets in camera a, the second under a wrong id; 2 right; one on nobody.
    pred = {
        "a": together(person(1, range(5)), person(2, range(5, 10)), person(3, range(10), x=100)),
        "b": together(
            person(1, range(10)), person(2, range(10), x=100), person(9, range(10), x=300)
        ),
    }
    p = evaluate_mtmc(gt, pred).pairs
    # Same: (a1, b1), (a2, b1), (a3, b2). Joined: (a1, b1), (a2, b2). Right: (a1, b1).
    assert (p.same, p.joined, p.right, p.unmatched) == (3, 2, 1, 1)
    assert (p.precision, p.recall, p.f1) == (1 / 2, 1 / 3, 2 / 5)


def test_cameras_without_a_partner_are_told() -> None:
    scores = evaluate_mtmc({"a": person(1, range(3)), "b": person(1, range(3))},
                           {"a": person(1, range(3)), "z": person(1, range(3))})  # fmt: skip
    assert (scores.missing, scores.left_out) == (("b",), ("z",))
    assert scores.union.clear.fn == 3
    with pytest.raises(InputError, match=r"\['z'\]"):
        evaluate_mtmc({"a": person(1, range(3))}, {"z": person(1, range(3))})


def invoke(*args: object) -> dict:
    result = CliRunner().invoke(command, [str(a) for a in args], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_command_reads_every_kind_of_input(tmp_path: Path) -> None:
    tracks = {"hall": person(1, range(10)), "yard": person(1, range(10), x=50)}
    site = tmp_path / "site"
    challenge = tmp_path / "challenge"
    for name, s in tracks.items():
        write_mot(site / "gt" / "mot" / f"{name}.txt", s)
        write_mot(challenge / name / "gt" / "gt.txt", s)
    write_mtmc(tmp_path / "mtmc.txt", {1: tracks["hall"], 2: tracks["yard"]})
    for gt in (site, site / "gt" / "mot", challenge, tmp_path / "mtmc.txt"):
        for pred in (site / "gt" / "mot", tmp_path / "mtmc.txt"):
            assert invoke("mtmc", gt, pred, "--json")["union"]["identity"]["idf1"] == 1
    one = invoke("tracks", site, challenge, "--camera", "yard", "--json")
    assert one["clear"]["tp"] == 10
    table = CliRunner().invoke(command, ["mtmc", str(site), str(challenge)])
    assert "all cameras" in table.output
    assert "pairs of tracklets" in table.output


def test_command_names_what_it_cannot_use(tmp_path: Path) -> None:
    write_mot(tmp_path / "a" / "x.txt", person(1, range(3)))
    write_mot(tmp_path / "a" / "y.txt", person(1, range(3)))
    for args, found in (
        (["tracks", tmp_path / "a", tmp_path / "a"], "2 cameras"),
        (["mtmc", tmp_path / "a", tmp_path / "none"], "does not exist"),
        (["mtmc", tmp_path, tmp_path / "a"], "holds no tracks"),
    ):
        result = CliRunner().invoke(command, [str(a) for a in args])
        assert isinstance(result.exception, InputError)
        assert found in str(result.exception)
