"""Graphs of each precision that `crosscam build` writes for TensorRT, without its pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx

from crosscam_deploy.bundle import Bundle, write_bundle
from crosscam_deploy.hashing import sha256_file
from crosscam_deploy.manifest import compute_model_id
from crosscam_deploy.precision.lowering import lowered
from crosscam_deploy.precision.observe import observe
from crosscam_deploy.precision.quantiser import OPSETS, Quantiser, quantisable
from crosscam_deploy.precision.rewriting import named
from crosscam_deploy.runtime.base import native_size


def in_precision(bundle: Bundle, precision: Any, folder: Path) -> Bundle:
    """A model in ``f32``, ``f16``, ``bf16``, ``int8`` or ``fp8``; its ranges are those of noise."""
    if precision == "f32":
        return bundle
    model = onnx.load(bundle.model_path)
    if precision in ("f16", "bf16"):
        written = lowered(named(model, 13 if precision == "f16" else 22), precision)
    else:
        model = named(model, OPSETS[precision])
        pictures = np.random.default_rng(0).random((2, 3, *native_size(bundle)), np.float32)
        entering = sorted(set(quantisable(model, precision).values()))
        seen = observe(model, entering, pictures)
        written = Quantiser(model, seen, precision, "f16").graph("minmax")
    folder.mkdir(parents=True)
    file = folder / "graph.onnx"
    onnx.save(written, file)
    manifest = bundle.manifest
    files = {manifest.model_file: sha256_file(file)}
    model_id = compute_model_id(
        task=manifest.task,
        files=files,
        output_names=manifest.output_names,
        preprocessing=manifest.preprocessing,
        decoder=manifest.decoder,
    )
    changed = manifest.model_copy(
        update={"files": files, "precision": precision, "model_id": model_id}
    )
    return write_bundle(folder / "bundle", changed, {manifest.model_file: file})
