"""Cut `vtest.avi` into several cameras with known identities.

Vertical strips of the picture become cameras; the ground between two strips is seen by nobody. Each
camera has its own exposure, colour and scale. The ids of the ground truth are kept, so who is who
across cameras is known. The truth gives a person who leaves and comes back a new id; the pictures
show that they are the same ten people, so those ids are joined here (`SAME_PERSON`).

Writes into the output folder: `<camera>.mp4`, `gt/<camera>.txt` (MOT Challenge) and `gt/mtmc.txt`
(camera from 1 in the order of the names, id, frame from 0, box, -1, -1).

    python benchmarks/split_vtest.py --assets ../shared/assets --variant two --output /tmp/split
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

MIN_VISIBLE = 0.6  # share of a person's box that must be inside the strip

# Ids of `vtest_mot15.txt` that are one person who came back, told by looking at their pictures.
SAME_PERSON = {19: 1, 13: 2, 11: 3, 12: 4, 9: 5, 10: 6, 14: 8, 15: 8, 18: 8}


@dataclass(frozen=True)
class View:
    """One camera: the strip of the picture that it sees and how its picture differs."""

    left: int
    right: int
    gain: tuple[float, float, float] = (1.0, 1.0, 1.0)  # blue, green, red
    gamma: float = 1.0
    scale: float = 1.0
    noise: float = 0.0


VARIANTS: dict[str, dict[str, View]] = {
    "two": {
        "left": View(0, 330),
        "right": View(430, 768, (0.80, 0.95, 1.12), 1.25, 0.8, 4.0),
    },
    "two_wide_gap": {
        "left": View(0, 300, (1.15, 1.0, 0.85), 0.85, 1.0, 3.0),
        "right": View(480, 768, (0.9, 1.0, 1.05), 1.4, 1.25, 2.0),
    },
    "three": {
        "a": View(0, 230, (1.1, 1.0, 0.9), 1.2, 1.0, 3.0),
        "b": View(275, 500),
        "c": View(545, 768, (0.85, 1.0, 1.1), 0.8, 0.75, 3.0),
    },
}


def load_truth(path: Path) -> np.ndarray:
    """Return `(N, 6)`: frame from 0, person, left, top, width, height of the truth of `vtest`."""
    rows = np.loadtxt(path, delimiter=",")[:, :6]
    rows[:, 0] -= 1
    rows[:, 1] = [SAME_PERSON.get(int(person), person) for person in rows[:, 1]]
    return rows


def rows_in_view(truth: np.ndarray, view: View) -> np.ndarray:
    """Return the rows of `truth` that a view shows, in its own pixels, boxes clipped to it."""
    x1, x2 = truth[:, 2], truth[:, 2] + truth[:, 4]
    inside_left, inside_right = np.maximum(x1, view.left), np.minimum(x2, view.right)
    visible = (inside_right - inside_left) >= MIN_VISIBLE * truth[:, 4]
    rows = truth[visible].copy()
    rows[:, 2] = inside_left[visible] - view.left
    rows[:, 4] = (inside_right - inside_left)[visible]
    rows[:, 2:6] *= view.scale
    return rows


def render(image: np.ndarray, view: View, rng: np.random.Generator) -> np.ndarray:
    """Return what a view shows of a BGR picture."""
    out = image[:, view.left : view.right].astype(np.float32) / 255.0
    out = np.clip(out * np.float32(view.gain), 0, 1) ** np.float32(view.gamma) * 255.0
    if view.noise:
        out += rng.normal(0, view.noise, out.shape).astype(np.float32)
    out = np.clip(out, 0, 255).astype(np.uint8)
    if view.scale == 1.0:
        return out
    size = (round(out.shape[1] * view.scale), round(out.shape[0] * view.scale))
    return cv2.resize(
        out, size, interpolation=cv2.INTER_AREA if view.scale < 1 else cv2.INTER_CUBIC
    )


def even(image: np.ndarray) -> np.ndarray:
    """Cut a picture to even sides, as video encoders want."""
    return np.ascontiguousarray(image[: image.shape[0] // 2 * 2, : image.shape[1] // 2 * 2])


def split(video: Path, truth: np.ndarray, views: dict[str, View], output: Path) -> None:
    """Write the videos and ground truths of `views`."""
    (output / "gt").mkdir(parents=True, exist_ok=True)
    mtmc = []
    for number, name in enumerate(sorted(views), start=1):
        rows = rows_in_view(truth, views[name])
        with (output / "gt" / f"{name}.txt").open("w") as file:
            for frame, person, *box in rows:
                place = ",".join(f"{v:.2f}" for v in box)
                file.write(f"{int(frame) + 1},{int(person)},{place},1,-1,-1,-1\n")
                mtmc.append((number, int(person), int(frame), *(round(v) for v in box), -1, -1))
    (output / "gt" / "mtmc.txt").write_text(
        "".join(" ".join(map(str, row)) + "\n" for row in sorted(mtmc))
    )
    capture, rng = cv2.VideoCapture(str(video)), np.random.default_rng(0)
    rate, writers = capture.get(cv2.CAP_PROP_FPS), {}
    while True:
        ok, image = capture.read()
        if not ok:
            break
        for name, view in views.items():
            picture = even(render(image, view, rng))
            if name not in writers:
                size = (picture.shape[1], picture.shape[0])
                writers[name] = cv2.VideoWriter(
                    str(output / f"{name}.mp4"), cv2.VideoWriter.fourcc(*"mp4v"), rate, size
                )
            writers[name].write(picture)
    for writer in writers.values():
        writer.release()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--assets", type=Path, required=True, help="folder of the test assets")
    parser.add_argument("--variant", choices=sorted(VARIANTS), default="two")
    parser.add_argument("--output", type=Path, required=True)
    args = parser.parse_args()
    truth = load_truth(args.assets / "groundtruth" / "vtest_mot15.txt")
    split(args.assets / "videos" / "vtest.avi", truth, VARIANTS[args.variant], args.output)
    print(f"{args.output}: {', '.join(sorted(VARIANTS[args.variant]))}")


if __name__ == "__main__":
    main()
