"""What a calibration is worth: one half of a recording associated with and without the other half.

Takes the runs that `associate_online.py` has left (strips of `vtest.avi`). What is learned from one
half (`crosscam calibrate`) is given to the other one, by the offline association over the tracks of
the run, and online frame by frame; both halves take both parts. "told at once" are the ids as they
were first given: there a run without calibration knows nothing yet.

    python benchmarks/associate_calibrated.py --work build/online \
        --assets ../shared/assets --output benchmarks/results/associate_calibrated.json
"""

from __future__ import annotations

import argparse
import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from associate_online import frames, play, sequences
from split_vtest import VARIANTS

from crosscam_edge.associate import AssociationConfig, associate
from crosscam_edge.associate.learned import Learned
from crosscam_edge.associate.online import OnlineConfig
from crosscam_edge.calibration.footage import Footage, read_footage
from crosscam_edge.calibration.measure import calibrate
from crosscam_edge.evaluate import evaluate_mtmc
from crosscam_edge.evaluate.load import load_cameras
from crosscam_edge.sinks.mot import MotSequence
from crosscam_edge.types import Tracklet

Tracks = dict[str, MotSequence]


def between(tracks: Tracks, first: int, last: int) -> Tracks:
    """Return the rows of some frames."""
    return {name: s[(s.frame >= first) & (s.frame < last)] for name, s in tracks.items()}


def half(tracklets: list[Tracklet], first: int, last: int) -> list[Tracklet]:
    """Return the tracklets that lie in some frames as a whole."""
    return [t for t in tracklets if t.start_frame >= first and t.end_frame < last]


def offline(
    found: Tracks, tracklets: list[Tracklet], site: AssociationConfig, model: str
) -> Tracks:
    """Return the tracks with the ids that the offline association gives them."""
    solved = associate(tracklets, model_id=model, config=site)
    ids = {a.key: a.global_id for a in solved.assignments}
    out = {}
    for name, rows in found.items():
        who = np.array([ids.get((name, t), 0) for t in rows.track_id.tolist()], np.int64)
        kept = rows[who > 0]
        out[name] = replace(kept, object_id=who[who > 0])
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--assets", type=Path, default=os.environ.get("CROSSCAM_ASSETS"))
    parser.add_argument("--work", type=Path, default=Path("build/online"))
    parser.add_argument("--variants", nargs="*", default=list(VARIANTS))
    parser.add_argument("--output", type=Path)
    args = parser.parse_args()
    table: dict[str, Any] = {}
    for variant in args.variants:
        folder = args.work / f"vtest-{variant}"
        run = folder / "run"
        truth = load_cameras(folder, ground_truth=True).tracks
        found = load_cameras(run).tracks
        footage = read_footage(run)
        tracklets = footage.tracklets
        end = 1 + max(int(rows.frame.max()) for rows in truth.values())
        parts = {"second half": (end // 2, end), "first half": (0, end // 2)}
        for name, (first, last) in parts.items():
            other = (0, end // 2) if first else (end // 2, end)
            seen = Footage(footage.model_id, half(tracklets, *other))
            known = calibrate(seen, run=variant).learned()
            table[f"{variant}, {name}"] = scores = {}
            for word, learned in (("alone", None), ("calibrated", known)):
                scores[word] = judged(
                    run, between(truth, first, last), between(found, first, last),
                    half(tracklets, first, last), learned, footage.model_id, (first, last),
                )  # fmt: skip
            print(variant, name, json.dumps(scores), flush=True)
    mean: dict[str, dict[str, float]] = {}
    for word in ("alone", "calibrated"):
        kinds = next(iter(table.values()))[word]
        mean[word] = {
            kind: round(float(np.mean([each[word][kind] for each in table.values()])), 4)
            for kind in kinds
        }
    print("mean", json.dumps(mean))
    if args.output:
        args.output.parent.mkdir(parents=True, exist_ok=True)
        args.output.write_text(json.dumps({**table, "mean": mean}, indent=1) + "\n")


def judged(
    run: Path,
    truth: Tracks,
    found: Tracks,
    tracklets: list[Tracklet],
    learned: Learned | None,
    model: str,
    span: tuple[int, int],
) -> dict[str, float]:
    """Return IDF1 across cameras, offline and online."""
    site = AssociationConfig(learned=learned)
    dim = tracklets[0].embeddings.shape[1]
    rows, labels, _ = play(
        frames(run, dim),
        dim,
        settings=OnlineConfig(),
        review_s=5.0,
        site=site,
        model_id=model,
        span=span,
    )
    return {
        kind: round(float(evaluate_mtmc(truth, tracks).cross_camera.idf1), 4)
        for kind, tracks in (
            ("process", offline(found, tracklets, site, model)),
            ("online", sequences(rows, labels.resolved(), truth)),
            ("told at once", sequences(rows, labels.first, truth)),
        )
    }


if __name__ == "__main__":
    main()
