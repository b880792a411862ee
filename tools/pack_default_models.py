"""Pack a training run as the re-identification model that comes with crosscam.

The last checkpoints of the run are averaged (Izmailov et al., UAI 2018: the mean of late weights
lies in a flatter place than any of them). Written into the package:

* ``crosscam-reid/``: the bundle with the image tower;
* ``crosscam-reid.clip.safetensors`` with ``crosscam-reid.weights.json``: image and text tower to
  train from (``model.weights=crosscam-reid``), see `crosscam_trainer.models.slim`.

    crosscam train default-reid data.path=people --output run
    python tools/pack_default_models.py run
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

import torch
from safetensors.torch import load_file

from crosscam_deploy.paths import packaged_dir
from crosscam_trainer.loop.checkpoint import numbers
from crosscam_trainer.loop.prepare import read_data
from crosscam_trainer.models.build import bare_model
from crosscam_trainer.models.checkpoint import save_model
from crosscam_trainer.models.export import export_bundle
from crosscam_trainer.models.prompts import CLOTHES, PERSON
from crosscam_trainer.models.slim import used_tokens, write_slim
from crosscam_trainer.models.weights import read_checkpoint
from crosscam_trainer.recipe import load_recipe

NAME = "crosscam-reid"
TRAINING = (
    "captions on generated people only (recipe default-reid); no photograph of anybody was used"
)


def mean_of(files: list[Path]) -> dict[str, torch.Tensor]:
    """Return the mean of the tensors of checkpoints, of the model and of the text tower."""
    sets = [load_file(file) for file in files]
    wanted = ("model.", "stage.0.module.text.")
    names = [n for n in sets[0] if n.startswith(wanted)]
    return {n: (sum(s[n].double() for s in sets) / len(sets)).to(sets[0][n].dtype) for n in names}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--last", type=int, default=2, help="checkpoints to average")
    parser.add_argument("--output", type=Path, default=packaged_dir())
    args = parser.parse_args()
    recipe = load_recipe(args.run / "recipe.yaml")
    folder = args.run / f"seed-{args.seed}" / "checkpoints"
    chosen = sorted(numbers(folder))[-args.last :]
    mean = mean_of([folder / f"{number:08d}" / "tensors.safetensors" for number in chosen])
    built = bare_model(recipe.model)
    built.model.load_state_dict({n[6:]: v for n, v in mean.items() if n.startswith("model.")})
    words = {n.partition(".text.")[2]: v for n, v in mean.items() if ".text." in n}
    built.text.load_state_dict(words)
    built.model.eval()

    bundle = args.output / NAME
    shutil.rmtree(bundle, ignore_errors=True)
    exported = export_bundle(
        built.model,
        built.preparation,
        bundle,
        name=NAME,
        licence=recipe.licence,
        source="crosscam",
        training=TRAINING,
    )
    texts = {s.caption for s in read_data(recipe).train if s.caption}
    texts |= {PERSON.format("X"), CLOTHES.format("X")}
    whole = args.output / "whole.safetensors"
    try:
        save_model(whole, built.model, built.text, recipe.model.tower)
        slim = args.output / f"{NAME}.clip.safetensors"
        kept = used_tokens(built.text, texts)
        write_slim(slim, read_checkpoint(whole), kept)
    finally:
        whole.unlink(missing_ok=True)
    size = sum(f.stat().st_size for f in args.output.rglob("*") if f.is_file()) / 1e6
    print(f"checkpoints {chosen}; graph off by {exported.graph_error:.1e} per element")
    print(f"{len(kept)} tokens of {len(texts)} texts; all packaged models: {size:.1f} MB")


if __name__ == "__main__":
    main()
