"""Plain model files into a bundle: the graph's own facts, plus what only the caller knows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from crosscam_deploy.bundle import Bundle, write_bundle
from crosscam_deploy.graph import GraphInfo, inspect
from crosscam_deploy.hashing import sha256_file
from crosscam_deploy.manifest import Decoder, Manifest, Preprocessing, compute_model_id
from crosscam_kernels.errors import InputError

if TYPE_CHECKING:
    from pathlib import Path


def pack(
    target: Path,
    *,
    name: str,
    task: Literal["detect", "embed"],
    files: dict[str, Path],
    preprocessing: Preprocessing,
    decoder: Decoder | None,
    licence: str,
    source: str,
    training: str = "",
    accuracy: dict[str, float] | None = None,
    graph: GraphInfo | None = None,
) -> Bundle:
    """Write a bundle from plain files.

    Args:
        target: Folder of the bundle.
        name: Name for the manifest.
        task: What the model does.
        files: Where each file is; the first is the graph.
        preprocessing: How it was trained to see images.
        decoder: The head of a detector.
        licence: Licence of the weights.
        source: Where the weights come from.
        training: Data and recipe, in words.
        accuracy: Published or measured figures by name.
        graph: What `inspect` returned, when the caller has it.

    Raises:
        InputError: Not one image input, or an embedder whose output length cannot be told.
    """
    model_file = next(iter(files))
    graph = graph or inspect(files[model_file])
    if len(graph.inputs) != 1:
        raise InputError(
            f"{model_file} has {len(graph.inputs)} inputs: {', '.join(graph.inputs)}",
            expected="one image input",
            fix="export the model without post-processing inputs",
        )
    input_name, input_shape = next(iter(graph.inputs.items()))
    output_names = tuple(graph.outputs) if task == "detect" else tuple(graph.outputs)[:1]
    hashes = {file: sha256_file(path) for file, path in files.items()}
    manifest = Manifest(
        name=name,
        task=task,
        format=graph.format,
        model_file=model_file,
        files=hashes,
        input_name=input_name,
        output_names=output_names,
        dynamic_batch=len(input_shape) > 0 and input_shape[0] is None,
        preprocessing=preprocessing,
        decoder=decoder,
        embedding_dim=embedding_length(graph, model_file) if task == "embed" else None,
        licence=licence,
        source=source,
        training=training,
        accuracy=accuracy or {},
        model_id=compute_model_id(
            task=task,
            files=hashes,
            output_names=output_names,
            preprocessing=preprocessing,
            decoder=decoder,
        ),
    )
    return write_bundle(target, manifest, files)


def embedding_length(graph: GraphInfo, model_file: str) -> int:
    """Return the length of an embedder's vectors: the product of the sizes after the batch."""
    name, shape = next(iter(graph.outputs.items()))
    sizes = shape[1:]
    length = 1
    for size in sizes:
        if size is None:
            length = 0
            break
        length *= size
    if not sizes or length < 2:
        raise InputError(
            f"the output {name!r} of {model_file} has shape {shape}",
            expected="batch x numbers, with a fixed length of the embedding",
            fix="export the model so that its first output is the embedding",
        )
    return length
