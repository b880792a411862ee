"""`crosscam models`: list, pull, import, show and export models."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from crosscam_kernels.errors import UsageError

if TYPE_CHECKING:
    from crosscam_deploy.bundle import Bundle
    from crosscam_deploy.zoo import ModelStatus


def _say_json(value: object) -> None:
    click.echo(json.dumps(value, indent=2, ensure_ascii=False))


@click.group("models")
def command() -> None:
    """List, pull, import, show and export models.

    A model is a bundle: its files, how images are prepared for it, its licence, and a sha256 of
    each file that is checked before anything runs. Folders named in CROSSCAM_MODELS are searched
    first, then the cache, then the zoo's downloads.
    """


@command.command("list")
@click.option("--task", type=click.Choice(["detect", "embed"]), help="Only models for this task.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def list_command(task: str | None, as_json: bool) -> None:
    """List the models of the zoo and your own, and which are on this machine."""
    from crosscam_deploy.zoo import best_available, list_models

    models = [status for status in list_models() if task in (None, status.task)]
    defaults = {}
    for each in ("detect", "embed"):
        best = best_available(each)
        defaults[each] = best.manifest.name if best else None
    if as_json:
        _say_json({"default": defaults, "models": [_status_fields(status) for status in models]})
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for heading in ("model", "task", "licence", "on this machine"):
        table.add_column(heading, overflow="fold", no_wrap=heading in ("model", "task"))
    for status in models:
        here = {
            "models": "yes",
            "cache": "yes, cached",
            "package": "yes, built in",
            None: f"no: {status.how}",
        }
        style = None if status.available else "dim"
        star = " *" if status.name in defaults.values() else ""
        row = (status.name + star, status.task, status.licence, here[status.available])
        table.add_row(*row, style=style)
    console = Console()
    console.print(table)
    console.print(
        "\n* taken when no model is named; a built-in one only if no other can be downloaded.\n"
        "Get one: crosscam models pull NAME"
    )


def _status_fields(status: ModelStatus) -> dict[str, Any]:
    return {
        "name": status.name,
        "task": status.task,
        "licence": status.licence,
        "source": status.source,
        "available": status.available,
        "path": str(status.where) if status.where else None,
        "how": status.how,
        "aliases": list(status.entry.aliases) if status.entry else [],
    }


@command.command("pull")
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def pull_command(names: tuple[str, ...], as_json: bool) -> None:
    """Download (or export) models into the cache; continues where a cut download stopped."""
    from crosscam_deploy.zoo import resolve

    bundles = [resolve(name, progress=not as_json) for name in names]
    if as_json:
        _say_json([_bundle_fields(bundle) for bundle in bundles])
        return
    for bundle in bundles:
        click.echo(f"{bundle.manifest.name}: {bundle.path} ({bundle.manifest.licence})")
        for file, sha256 in bundle.manifest.files.items():
            click.echo(f"  {file}  sha256 {sha256}")


def parse_size(_ctx: click.Context, _param: click.Parameter, value: str | None) -> Any:
    """Read ``HEIGHTxWIDTH`` of an option."""
    if value is None:
        return None
    parts = value.lower().split("x")
    if len(parts) == 2 and all(part.isdigit() and int(part) > 0 for part in parts):
        return int(parts[0]), int(parts[1])
    raise click.BadParameter(f"{value!r} is not HEIGHTxWIDTH, for example 256x128")


@command.command("import")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--task", type=click.Choice(["detect", "embed"]), required=True)
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Bundle folder to create.")
@click.option("--name", help="Name of the bundle; the file's name by default.")
@click.option("--color", type=click.Choice(["rgb", "bgr"]), help="Channel order of the input.")
@click.option(
    "--normalise",
    type=click.Choice(["none", "unit", "imagenet", "clip"]),
    help="Pixel values as trained: 0-255, 0-1, or 0-1 with that mean and deviation.",
)
@click.option("--fit", type=click.Choice(["stretch", "letterbox", "letterbox_topleft"]))
@click.option("--size", callback=parse_size, metavar="HxW", help="For graphs of free input size.")
@click.option("--family", type=click.Choice(["yolox", "yolo_raw", "end2end", "detr"]))
@click.option("--person-class", type=click.IntRange(min=0), help="Class index of a person.")
@click.option("--activation", type=click.Choice(["none", "sigmoid", "softmax"]), help="DETR only.")
@click.option("--licence", default="unknown", help="Licence of the weights.")
@click.option("--source", default="imported", help="Where the weights come from.")
@click.option("--training", default="", help="Data and recipe, in words.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def import_command(
    file: Path, task: Any, output: Path | None, as_json: bool, **fields: Any
) -> None:
    """Make a bundle of an ONNX file or an OpenVINO .xml, and run it once.

    The family of a detector is recognised by its outputs. What a graph cannot say (how crops are
    prepared for a re-identification net) must be given: with wrong values it would run, and
    recognise people worse.
    """
    from crosscam_deploy.importer import ImportOptions, bundle_name, import_model
    from crosscam_deploy.paths import cache_dir

    options = ImportOptions(**fields)
    name = options.name or bundle_name(file.stem)
    target = output or cache_dir() / "models" / name
    if output is None and target.exists():
        raise UsageError(
            f"a model named {name!r} is in the cache already",
            fix="choose another --name or an output folder with -o",
        )
    bundle = import_model(file, task, target, options)
    if as_json:
        _say_json(_bundle_fields(bundle))
    else:
        click.echo(f"wrote {bundle.path}")
        _print_bundle(bundle)


@command.command("show")
@click.argument("name")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def show_command(name: str, as_json: bool) -> None:
    """Show a model's manifest after checking its files, its engines, and how it was verified.

    Downloads nothing. What `crosscam verify` found is shown when it is of exactly this model. Of
    TensorRT's engines those beside the bundle are shown, and those that this machine has built.
    """
    from crosscam_deploy.verify.store import load_report
    from crosscam_deploy.zoo import resolve
    from crosscam_edge.cli.models_engines import engine_fields, engines_of, print_engines
    from crosscam_edge.cli.verify_print import print_report

    bundle = resolve(name, download=False)
    report = load_report(bundle)
    engines = engines_of(bundle)
    if as_json:
        found = report.model_dump(mode="json") if report else None
        _say_json({**_bundle_fields(bundle), "engines": engine_fields(engines), "verified": found})
        return
    _print_bundle(bundle)
    print_engines(engines)
    if report is not None:
        click.echo("\nverified")
        # what else was compared on that day is told by its own model
        mine = [r for r in report.rows if r.role != "candidate" or r.model_id == bundle.model_id]
        print_report(report.model_copy(update={"rows": tuple(mine)}))


@command.command("export-search")
@click.argument("name")
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, help=".onnx file.")
@click.option("-k", "k", default=10, show_default=True, help="Results of a picture, 1 to 1024.")
@click.option(
    "--capacity",
    type=click.IntRange(min=1),
    help="Rows of the gallery; any number if not given, which TensorRT does not take.",
)
@click.option("--masked", is_flag=True, help="Take valid rows and cameras, too.")
@click.option("--gallery", type=click.Choice(["f32", "f16"]), default="f32", show_default=True)
@click.option("--plugin", is_flag=True, help="One node for crosscam's TensorRT plugins.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def export_search_command(
    name: str, output: Path, as_json: bool, plugin: bool, **fields: Any
) -> None:
    """Write an embedder with a search behind it, as one ONNX file.

    Pictures and a gallery go in; embeddings, and the most similar rows of the gallery, come out.
    """
    from crosscam_deploy.export.retrieval_head import RetrievalHead, export_search
    from crosscam_deploy.zoo import resolve

    head = RetrievalHead(**fields)
    ports = export_search(resolve(name), output, head, plugin=plugin)
    if as_json:
        _say_json({"path": str(output), **ports._asdict()})
        return
    click.echo(f"wrote {output}")
    for kind, each in ports._asdict().items():
        for port, shape in each.items():
            click.echo(f"  {kind.removesuffix('s')} {port}: {' x '.join(map(str, shape))}")


def _bundle_fields(bundle: Bundle) -> dict[str, Any]:
    return {"path": str(bundle.path), "manifest": bundle.manifest.model_dump(mode="json")}


def _print_bundle(bundle: Bundle) -> None:
    from rich.console import Console
    from rich.table import Table

    manifest = bundle.manifest
    prep = manifest.preprocessing
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    rows = {
        "name": manifest.name,
        "task": manifest.task,
        "path": str(bundle.path),
        "model id": manifest.model_id,
        "format": f"{manifest.format}, batch {'any' if manifest.dynamic_batch else 'fixed'}",
        "input": f"{prep.height} x {prep.width} (height x width), {prep.color.upper()}, {prep.fit}",
        "pixels": f"(pixel * {prep.scale:.6g} - {list(prep.mean)}) / {list(prep.std)}",
        "licence": manifest.licence,
        "source": manifest.source,
        "training": manifest.training or "not stated",
    }
    if manifest.run_with:
        how = "measured" if manifest.run_with.measured else "for a box that was not at hand"
        rows["built for"] = f"{manifest.run_with.runtime}, {how}"
    if manifest.decoder:
        rows["decoder"] = f"{manifest.decoder.kind}, {manifest.decoder.num_classes} classes"
    if manifest.embedding_dim:
        rows["embedding"] = f"{manifest.embedding_dim} numbers"
    for figure, value in manifest.accuracy.items():
        rows[figure] = f"{value:.3f} (published)"
    for file, sha256 in manifest.files.items():
        rows[file] = f"sha256 {sha256}"
    for key, value_text in rows.items():
        table.add_row(key, value_text)
    Console().print(table)
