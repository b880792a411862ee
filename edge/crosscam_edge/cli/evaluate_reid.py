"""`crosscam eval reid`: how well a model finds people in the pictures of a data set."""

from __future__ import annotations

import json
from contextlib import contextmanager
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from crosscam_edge.cli.layout import layout_of, layout_options
from crosscam_edge.cli.progress import counting_bar
from crosscam_kernels.errors import MissingExtraError, RunError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from crosscam_trainer.data.types import ReIDData
    from crosscam_trainer.evaluation.report import Embed
    from crosscam_trainer.recipe import Recipe


@click.command("reid")
@click.option(
    "--model",
    required=True,
    help="A bundle or the name of one; or the folder of a run of `train`, or weights of it.",
)
@click.option(
    "--data",
    "path",
    type=click.Path(path_type=Path),
    help="Folder of the data set; for a run, that of its recipe if not given.",
)
@click.option("--kind", help="Kind of the set; recognised by its folders if not given.")
@layout_options
@click.option(
    "--split",
    type=click.Choice(["test", "val"]),
    default="test",
    show_default=True,
    help="Which pictures.",
)
@click.option(
    "--protocol", "protocols", multiple=True, help="Only this protocol of the set; repeatable."
)
@click.option("--flip", is_flag=True, help="Average embeddings with those of mirrored pictures.")
@click.option("--rerank", is_flag=True, help="Re-rank by k-reciprocal neighbours.")
@click.option("--probes", is_flag=True, help="Also probe embeddings for cameras and for clothes.")
@click.option("--seed", type=int, help="Of a run with several.")
@click.option(
    "--which",
    type=click.Choice(["last", "best"]),
    default="last",
    show_default=True,
    help="Which model of a run.",
)
@click.option("--batch-size", type=click.IntRange(min=1), default=64, show_default=True)
@click.option(
    "--runtime",
    type=click.Choice(["auto", "openvino", "onnxruntime", "tensorrt", "tensorrt-rtx"]),
    default="auto",
    show_default=True,
    help="Engine of a bundle; those of NVIDIA build one for this GPU first.",
)
@click.option(
    "--precision",
    type=click.Choice(["f32", "auto"]),
    default="f32",
    show_default=True,
    help="Of a bundle; auto computes as `process` does on this machine.",
)
@click.option(
    "--json",
    "json_file",
    type=click.Path(path_type=Path, allow_dash=True),
    help="Also write all figures to this file; - prints them instead of the table.",
)
def command(
    model: str,
    path: Path | None,
    kind: str | None,
    split: str,
    protocols: tuple[str, ...],
    seed: int | None,
    which: str,
    batch_size: int,
    runtime: str,
    precision: str,
    json_file: Path | None,
    *,
    flip: bool,
    rerank: bool,
    probes: bool,
    **layout: Any,
) -> None:
    """Score a model on a data set: mAP, rank-k, mINP, by every protocol of the set.

    Bundles are run as the edge runs them, and need no torch; models of runs need the extra `train`.
    """
    from crosscam_trainer.data import load
    from crosscam_trainer.evaluation.report import evaluate

    how = layout_of(**layout)
    data = None if path is None else load(path, kind, how)
    if path is None and (kind is not None or how is not None):
        raise UsageError("--kind or --pattern without --data", fix="give --data as well")
    settings = _Settings(seed, which, runtime, precision, flip, batch_size)
    with (
        _opened(model, data, settings) as (name, embed, data),
        counting_bar(
            "embedding", "pictures", silent=str(json_file) == "-", rate="pictures/s"
        ) as bar,
    ):
        report = evaluate(
            embed,
            data,
            model=name,
            split=split,
            protocols=protocols,
            flip=flip,
            rerank=rerank,
            probes=probes,
            progress=bar,
        )
    text = json.dumps(report.json(), ensure_ascii=False, allow_nan=False, indent=1)
    if str(json_file) == "-":
        click.echo(text)
        return
    if json_file is not None:
        _write(json_file, text)
    from rich.console import Console

    console = Console()
    if not console.is_terminal:
        console = Console(width=200)  # a file or a pipe has no edge to fold at
    console.print(report.table(), highlight=False)


class _Settings(NamedTuple):
    """How a model is opened, and how it embeds: the options of that name."""

    seed: int | None
    which: str
    runtime: Any
    precision: Any
    flip: bool
    batch_size: int


@contextmanager
def _opened(
    model: str, data: ReIDData | None, settings: _Settings
) -> Iterator[tuple[str, Embed, ReIDData]]:
    """Give the name of a model, what embeds with it, and the data to evaluate it on."""
    if _is_run(Path(model)):
        yield _of_run(Path(model), data, settings)
        return
    if data is None:
        raise UsageError("a bundle without --data", fix="--data FOLDER")
    from crosscam_deploy.runtime import open_runtime
    from crosscam_deploy.zoo import resolve
    from crosscam_trainer.evaluation.embed import BundleEmbedder

    opened = open_runtime(resolve(model), runtime=settings.runtime, precision=settings.precision)
    try:
        embed = BundleEmbedder(opened, flip=settings.flip, batch_size=settings.batch_size)
        yield opened.bundle.manifest.name, embed, data
    finally:
        opened.close()


def _is_run(path: Path) -> bool:
    if path.suffix == ".safetensors":
        return True
    weights = [path / f"{name}.safetensors" for name in ("last", "best")]
    return (path / "recipe.yaml").is_file() or any(file.is_file() for file in weights)


def _of_run(path: Path, data: ReIDData | None, settings: _Settings) -> tuple[str, Embed, ReIDData]:
    if any(find_spec(name) is None for name in ("torch", "torchvision", "open_clip")):
        raise MissingExtraError("models of training runs (their bundles need nothing)", "train")
    import torch

    from crosscam_trainer.evaluation.embed_torch import embed
    from crosscam_trainer.evaluation.trained import load_trained, weights_file
    from crosscam_trainer.loop.devices import World, device_kind
    from crosscam_trainer.recipe import LoopRecipe

    file = weights_file(path, settings.which, settings.seed)
    trained = load_trained(file)
    world = World(torch.device(device_kind(LoopRecipe())))
    trained.model.to(world.device)
    work = partial(
        embed,
        trained.model,
        preparation=trained.preparation,
        world=world,
        flip=settings.flip,
        batch_size=settings.batch_size,
    )

    def run(samples: Any, progress: Any = None) -> Any:
        return work(samples, progress=progress)

    return str(file), run, _data_of(trained.recipe, data)


def _data_of(recipe: Recipe, given: ReIDData | None) -> ReIDData:
    """Return the data to evaluate on; warns when pictures among them were trained on."""
    from crosscam_trainer.loop.prepare import read_data

    if given is None:
        return read_data(recipe)
    try:
        same = recipe.data.path.resolve().is_relative_to(given.root.parent.resolve())
    except OSError:
        same = False
    if same and recipe.data.path.is_dir():
        trained = {sample.path.resolve() for sample in read_data(recipe).train}
        tested = {sample.path.resolve() for sample in (*given.query, *given.gallery)}
        if trained & tested:
            click.echo(
                f"warning: {len(trained & tested)} of {len(tested)} pictures were trained on; "
                "leave --data out, or divide the people as the recipe does",
                err=True,
            )
    return given


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text + "\n", encoding="utf-8")
    except OSError as error:
        raise RunError(
            f"{path} cannot be written ({error.strerror})", fix="choose another --json"
        ) from error
