"""Pictures for `train_methods*.py`: generated people before plain walls of cameras that disagree.

What the generator puts around people (other people, furniture, crowds of colours) takes small
towers long to see through, and is not what the methods differ in. Here a person is cut out by the
mask that the generator gives, set before a wall that only that camera has, and seen through that
camera's own colours: strong, known differences between cameras, and clothes that change.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from crosscam_trainer.people import PeopleConfig, generate

HEIGHT, WIDTH = 96, 48
TRAINED = 80
"""People of a set who are trained on, at most."""
_LIKE = {"cameras": 6, "cameras_per_person": 4, "views": 3, "frame": 400, "max_height": 128}
SETS = {
    "one outfit": PeopleConfig(people=120, outfits=1, test_share=2 / 3, seed=12, **_LIKE),
    "two outfits": PeopleConfig(people=160, outfits=2, test_share=1 / 2, seed=13, **_LIKE),
}
GAIN, GAMMA, WALL = 0.25, 0.2, 40
"""Standard deviations of the logarithms of a camera's gains and gamma, beside those of the
generator's cameras, and of its wall, grey levels."""
_TABLES = ("people.json", "site.yaml", "config.json")


def make(config: PeopleConfig, root: Path, *, mixed: bool = False, people: int = 10**9) -> None:
    """Render a set, and write its pictures anew to `root`; what is there already is kept.

    Args:
        config: Of the generator.
        root: Folder.
        people: Of the training split, the first ones; all tested ones are kept.
        mixed: Give every picture a wall and colours of its own, so that nothing tells its camera.
    """
    rendered = root.with_name(f"rendered-{config.outfits}")
    if not (rendered / "crops.jsonl").exists():
        generate(config, rendered, workers=1, resume=rendered.exists())
    if (root / "crops.jsonl").exists():
        return
    rng = np.random.default_rng([config.seed, 9])
    pictures = sorted((rendered / "crops").rglob("*.jpg"))
    looks = len(pictures) if mixed else config.cameras
    gains = np.exp(rng.normal(0, GAIN, (looks, 3)))
    gammas = np.exp(rng.normal(0, GAMMA, looks))
    walls = np.clip(rng.normal(128, WALL, (looks, 3)), 0, 255)
    for number, picture in enumerate(pictures):
        if picture.parent.name.endswith("train") and int(picture.name[:5]) > people:
            continue
        camera = int(picture.name.split("_c")[1].split("s")[0]) - 1
        look = number if mixed else camera
        place = picture.relative_to(rendered)
        mask = cv2.imread(str((rendered / "masks" / place).with_suffix(".png")), 0)
        mask = cv2.resize(mask, (WIDTH, HEIGHT), interpolation=cv2.INTER_NEAREST)
        image = cv2.resize(cv2.imread(str(picture)), (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA)
        seen = np.where(mask[..., None] > 0, image, walls[look]) / 255
        seen = 255 * np.clip(gains[look] * seen ** gammas[look], 0, 1)
        _write(root / place, seen.astype(np.uint8))
        _write((root / "masks" / place).with_suffix(".png"), mask)
    for name in (*_TABLES, "crops.jsonl"):  # the last says that all is there
        shutil.copyfile(rendered / name, root / name)


def _write(path: Path, image: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    done, data = cv2.imencode(path.suffix, image)
    assert done
    path.write_bytes(data.tobytes())
