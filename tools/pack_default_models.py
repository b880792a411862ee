"""Pack training runs as the models that come with crosscam.

Of the re-identification model the last checkpoints are averaged (Izmailov et al., UAI 2018: the
mean of late weights lies in a flatter place than any of them). What was trained on top of it on a
generated site (recipe `default-reid-site`) is taken in part: weights between the two keep what
the first could do (Wortsman et al., CVPR 2022, Eq. 1). Written into the package:

* ``crosscam-reid/``: the bundle with the image tower;
* ``crosscam-reid.clip.safetensors`` with ``crosscam-reid.weights.json``: image and text tower to
  train from (``model.weights=crosscam-reid``), see `crosscam_trainer.models.slim`;
* ``crosscam-detector/``: the bundle of the detector.

Cards are written by hand: what else went into the weights no run knows.

    python tools/pack_default_models.py --reid run --on-top run-on-site --detector run-of-detector
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

import torch
from safetensors.torch import load_file

from crosscam_deploy.manifest import MANIFEST_NAME
from crosscam_deploy.paths import packaged_dir
from crosscam_trainer.detection.coco import read_coco, split
from crosscam_trainer.detection.export import export_detector
from crosscam_trainer.detection.judging import judge_network
from crosscam_trainer.detection.network import PersonDetector
from crosscam_trainer.detection.recipe import load_detector_recipe
from crosscam_trainer.detection.train import figures_of
from crosscam_trainer.loop.checkpoint import numbers
from crosscam_trainer.loop.prepare import read_data
from crosscam_trainer.models.build import bare_model
from crosscam_trainer.models.checkpoint import save_model
from crosscam_trainer.models.export import export_bundle
from crosscam_trainer.models.prompts import CLOTHES, PERSON
from crosscam_trainer.models.slim import used_tokens, write_slim
from crosscam_trainer.models.weights import read_checkpoint
from crosscam_trainer.recipe import load_recipe

NAME, DETECTOR = "crosscam-reid", "crosscam-detector"
DETECTOR_TRAINING = (
    "generated people only (recipes default-detector, default-detector-close); "
    "no photograph was used"
)
TRAINING = "{how} on generated people only (recipe {recipes}); no photograph of anybody was used"
_MODEL = "model."


def mean_of(files: list[Path]) -> dict[str, torch.Tensor]:
    """Return the mean of the tensors of checkpoints, of the model and of the text tower."""
    sets = [load_file(file) for file in files]
    wanted = (_MODEL, "stage.0.module.text.")
    names = [n for n in sets[0] if n.startswith(wanted)]
    return {n: (sum(s[n].double() for s in sets) / len(sets)).to(sets[0][n].dtype) for n in names}


def last_checkpoints(run: Path, seed: int, last: int) -> list[Path]:
    """Return the tensors of a run's last checkpoints, in order."""
    folder = run / f"seed-{seed}" / "checkpoints"
    chosen = sorted(numbers(folder))[-last:]
    print(f"{run.name}: checkpoints {chosen}")
    return [folder / f"{number:08d}" / "tensors.safetensors" for number in chosen]


def between(
    first: dict[str, torch.Tensor], then: dict[str, torch.Tensor], share: float
) -> dict[str, torch.Tensor]:
    """Return weights on the way from one model to another, `share` of the way along.

    Both have the same names; whole numbers (counts of batches) are those of `first`.
    """
    return {
        name: torch.lerp(value, then[name], share) if value.is_floating_point() else value
        for name, value in first.items()
    }


def pack_reid(
    run: Path, on_top: Path | None, share: float, seed: int, last: int, output: Path
) -> None:
    """Write bundle and first weights of a run of `crosscam train`, and of one that went on."""
    recipe = load_recipe(run / "recipe.yaml")
    mean = mean_of(last_checkpoints(run, seed, last))
    weights = {n.removeprefix(_MODEL): v for n, v in mean.items() if n.startswith(_MODEL)}
    training = TRAINING.format(how="captions", recipes="default-reid, default-reid-exact")
    if on_top:
        how = f"captions, then CCAFL with CCAF (a share of {share:g})"
        training = TRAINING.format(
            how=how, recipes="default-reid, default-reid-exact, default-reid-site"
        )
        further = load_file(last_checkpoints(on_top, seed, 1)[0])
        weights = between(weights, {n: further[_MODEL + n] for n in weights}, share)
    built = bare_model(recipe.model)
    built.model.load_state_dict(weights)
    words = {n.partition(".text.")[2]: v for n, v in mean.items() if ".text." in n}
    built.text.load_state_dict(words)
    built.model.eval()

    bundle = output / NAME
    shutil.rmtree(bundle, ignore_errors=True)
    exported = export_bundle(
        built.model,
        built.preparation,
        bundle,
        name=NAME,
        licence=recipe.licence,
        source="crosscam",
        training=training,
    )
    texts = {s.caption for s in read_data(recipe).train if s.caption}
    texts |= {PERSON.format("X"), CLOTHES.format("X")}
    whole = output / "whole.safetensors"
    try:
        save_model(whole, built.model, built.text, recipe.model.tower)
        kept = used_tokens(built.text, texts)
        write_slim(output / f"{NAME}.clip.safetensors", read_checkpoint(whole), kept)
    finally:
        whole.unlink(missing_ok=True)
    print(f"graph off by {exported.graph_error:.1e} per element")
    print(f"{len(kept)} tokens of {len(texts)} texts")


def pack_detector(run: Path, output: Path) -> None:
    """Write the bundle of a run of `crosscam train-detector`."""
    recipe = load_detector_recipe(run / "recipe.yaml")
    recipe = recipe.model_copy(update={"name": DETECTOR})
    network = PersonDetector(recipe.network)
    network.load_state_dict(load_file(run / "last.safetensors"))
    learnt, judged = split(
        read_coco(recipe.data.path, recipe.data.least_visible), recipe.data.test_share
    )
    print(f"{len(learnt)} pictures were learnt from, judging by {len(judged)}")
    figures = figures_of(judge_network(network, judged, recipe))
    folder = output / DETECTOR
    shutil.rmtree(folder, ignore_errors=True)
    bundle = export_detector(network, recipe, folder, figures)
    folder.with_suffix(".card.md").unlink()
    told = {"source": "crosscam", "training": DETECTOR_TRAINING}
    manifest = bundle.manifest.model_copy(update=told)
    text = manifest.model_dump_json(indent=2) + "\n"
    (folder / MANIFEST_NAME).write_text(text, encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--reid", type=Path, help="run of `crosscam train default-reid-exact`")
    parser.add_argument("--on-top", type=Path, help="run of `crosscam train default-reid-site`")
    parser.add_argument("--share", type=float, default=0.5, help="of --on-top in the weights")
    parser.add_argument("--detector", type=Path, help="run of `crosscam train-detector`")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--last", type=int, default=2, help="checkpoints to average")
    parser.add_argument("--output", type=Path, default=packaged_dir())
    args = parser.parse_args()
    if not 0 <= args.share <= 1:
        parser.error(f"--share {args.share:g} is not from 0 to 1")
    if args.reid:
        pack_reid(args.reid, args.on_top, args.share, args.seed, args.last, args.output)
    if args.detector:
        pack_detector(args.detector, args.output)
    size = sum(f.stat().st_size for f in args.output.rglob("*") if f.is_file()) / 1e6
    print(f"all packaged models: {size:.2f} MB")


if __name__ == "__main__":
    main()
