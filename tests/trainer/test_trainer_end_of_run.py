"""From pictures to the edge: train, bundle, evaluate checkpoint and bundle, embed as `process`."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml
from click.testing import CliRunner

torch = pytest.importorskip("torch")

from crosscam_deploy.bundle import load_bundle  # noqa: E402
from crosscam_deploy.runtime.open import open_runtime  # noqa: E402
from crosscam_edge.cli.evaluate import command as eval_command  # noqa: E402
from crosscam_edge.cli.train import command as train_command  # noqa: E402
from crosscam_edge.embed.model import ModelEmbedder  # noqa: E402
from crosscam_kernels.errors import InputError, UsageError  # noqa: E402
from crosscam_trainer.evaluation.embed import BundleEmbedder  # noqa: E402
from crosscam_trainer.evaluation.embed_torch import embed  # noqa: E402
from crosscam_trainer.evaluation.trained import load_trained  # noqa: E402
from crosscam_trainer.loop.prepare import read_data  # noqa: E402

PATTERN = "{person}/{camera}_{view}.png"
PEOPLE = 20


def call(command, *words: object) -> str:
    result = CliRunner().invoke(command, [str(w) for w in words], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on people in weak colours before two cameras of different light."""
    root = tmp_path_factory.mktemp("end")
    rng = np.random.default_rng(0)
    for person in range(PEOPLE):
        colours = 128 + rng.normal(0, 25, (2, 1, 3))
        (root / f"pics/{person:03d}").mkdir(parents=True)
        for camera in range(2):
            for view in range(4):
                image = np.repeat(colours, 16, 0) + rng.normal(0, 40, (32, 16, 3)) + 30 * camera
                done, data = cv2.imencode(".png", np.clip(image, 0, 255).astype(np.uint8))
                assert done
                (root / f"pics/{person:03d}/{camera}_{view}.png").write_bytes(data.tobytes())
    recipe = {
        "name": "tiny",
        "data": {"path": str(root / "pics"), "pattern": PATTERN, "licence": "made for the test"},
        "model": {"tower": "test-tiny", "size": [32, 16], "whiten": 3.0},
        "augmentation": {"pad": 1},
        "batch": {"people": 4, "pictures": 4, "iterations": 25},
        "loop": {"device": "cpu", "workers": 0},
        "evaluation": {"every": 1},
        "method": {
            "name": "clip_reid",
            "epochs": 2,
            "prompts": {"epochs": 1},
            # Rates and batches enough for embeddings that are not all nearly the same: rounding
            # then changes no rank.
            "optimiser": {"lr": 0.003, "warmup_epochs": 0},
        },
        "licence": "Apache-2.0",
    }
    (root / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    said = call(train_command, root / "recipe.yaml", "--output", root / "run")
    assert "last.bundle" in said
    return root


def figures(root: Path, model: Path, *words: object) -> dict[str, float]:
    call(eval_command, "reid", "--model", model, "--json", root / "figures.json", *words)
    found = json.loads((root / "figures.json").read_text())
    return dict(found["protocols"][0]["figures"])


def test_bundle_and_checkpoint_and_run_agree(trained: Path) -> None:
    result = json.loads((trained / "run/seed-0/result.json").read_text())
    where = ("--data", trained / "pics", "--pattern", PATTERN)
    for which in ("last", "best"):
        told = result[which]["figures"]
        again = figures(trained, trained / "run", "--which", which)
        assert again == pytest.approx(told, abs=1e-12)
        assert 0.05 < again["mAP"] < 0.99  # neither hopeless nor trivial
        served = figures(trained, trained / f"run/seed-0/{which}.bundle", *where)
        assert served == pytest.approx(again, abs=1e-6)
        manifest = load_bundle(trained / f"run/seed-0/{which}.bundle").manifest
        assert manifest.accuracy["test/standard/mAP"] == pytest.approx(told["mAP"])
        assert manifest.licence == "Apache-2.0"
        card = (trained / f"run/seed-0/{which}.card.md").read_text()
        assert manifest.model_id in card
        assert "made for the test" in card
        assert f"| whitening inside labels | {result['whitening']} |" in card or which == "best"
        assert f"{told['mAP']:.3f}" in card
        assert "chosen on the test split" in card


def test_options_change_what_they_say(trained: Path) -> None:
    where = ("--data", trained / "pics", "--pattern", PATTERN)
    bundle = trained / "run/seed-0/last.bundle"
    plain = figures(trained, bundle, *where)
    assert figures(trained, bundle, *where, "--rerank") != plain
    flipped = figures(trained, bundle, *where, "--flip")
    assert flipped == pytest.approx(figures(trained, trained / "run", "--flip"), abs=1e-6)
    assert flipped != plain
    table = call(eval_command, "reid", "--model", bundle, *where, "--probes")
    assert "camera probe" in table
    assert f"{100 * plain['mAP']:.2f}" in table


def test_embeddings_are_those_of_the_edge(trained: Path) -> None:
    found = load_trained(trained / "run/seed-0/last.safetensors")
    samples = read_data(found.recipe).query
    bundle = load_bundle(trained / "run/seed-0/last.bundle")
    ours = embed(found.model, samples, found.preparation, batch_size=7)
    with open_runtime(bundle, runtime="onnxruntime", precision="f32") as runtime:
        served = BundleEmbedder(runtime, batch_size=7)(samples)
        edge = ModelEmbedder(runtime)
        for row, sample in zip(served, samples, strict=True):
            image = cv2.imread(str(sample.path))
            box = np.array([[0, 0, image.shape[1], image.shape[0]]], np.float32)
            assert np.allclose(edge.embed(image, box)[0], row, atol=1e-6)
    assert np.allclose(ours, served, atol=1e-5)
    assert np.allclose(np.linalg.norm(ours, axis=1), 1, atol=1e-5)


def test_a_run_that_is_resumed_keeps_or_completes_its_bundles(trained: Path) -> None:
    folder = trained / "run/seed-0"
    before = (folder / "last.bundle/manifest.json").stat().st_mtime_ns
    card = (folder / "best.card.md").read_text()
    (folder / "best.card.md").unlink()
    call(train_command, trained / "recipe.yaml", "--output", trained / "run", "--resume")
    assert (folder / "last.bundle/manifest.json").stat().st_mtime_ns == before
    again = (folder / "best.card.md").read_text()
    assert load_bundle(folder / "best.bundle").manifest.model_id in again
    # Exports of one model may differ in a byte, and with it in the id.
    assert _without_id(again) == _without_id(card)


def _without_id(card: str) -> list[str]:
    return [line for line in card.splitlines() if not line.startswith("| model id |")]


def test_bundles_need_no_torch(trained: Path) -> None:
    code = (
        "import sys; sys.modules['torch'] = None; sys.modules['torchvision'] = None\n"
        "from crosscam_edge.cli import main; main(sys.argv[1:])"
    )
    words = ["--model", trained / "run/seed-0/last.bundle", "--data", trained / "pics"]
    words += ["--pattern", PATTERN, "--rerank", "--probes", "--json", "-"]
    done = subprocess.run(
        [sys.executable, "-c", code, "eval", "reid", *map(str, words)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["protocols"][0]["queries"] == PEOPLE


def test_wrong_input_is_named(trained: Path, tmp_path: Path) -> None:
    run, where = trained / "run", ("--data", trained / "pics", "--pattern", PATTERN)
    with pytest.raises(UsageError, match="without --data"):
        call(eval_command, "reid", "--model", run / "seed-0/last.bundle")
    with pytest.raises(InputError, match="not-there"):
        call(eval_command, "reid", "--model", tmp_path / "not-there", *where)
    with pytest.raises(InputError, match=r"no last\.safetensors"):
        call(eval_command, "reid", "--model", run, "--seed", 7, *where)
    with pytest.raises(UsageError, match="no protocol 'video'"):
        call(eval_command, "reid", "--model", run, "--protocol", "video")
    with pytest.raises(InputError, match="val split"):
        call(eval_command, "reid", "--model", run, "--split", "val")
    broken = tmp_path / "last.safetensors"
    broken.write_bytes((run / "seed-0/last.safetensors").read_bytes()[:1000])
    with pytest.raises(InputError, match="cannot be read"):
        call(eval_command, "reid", "--model", broken, *where)
    assert "were trained on" in call(
        eval_command, "reid", "--model", run, *where, "--train-share", 0.1
    )
