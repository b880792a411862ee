"""An embedder in torch into ONNX, with any batch, compared before it is used."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from crosscam_deploy.export.traces import drop_traces
from crosscam_deploy.runtime.onnxruntime_engine import session
from crosscam_kernels.errors import RunError

if TYPE_CHECKING:
    from pathlib import Path

_OPSET = 18
# float32 in two engines, relative to the largest number; twelve layers measured about 1e-6
_MAX_ERROR = 1e-4


def export_embedder(
    torch: Any, network: Any, image_size: tuple[int, int], file: Path, *, name: str
) -> None:
    """Write a network as ONNX and check that the graph gives its answers.

    Args:
        torch: The module.
        network: ``(B, 3, H, W)`` float32 to ``(B, D)``, in evaluation mode.
        image_size: ``(H, W)`` in pixels.
        file: Where to write; one file, weights inside.
        name: For error messages.

    Raises:
        RunError: The export failed, or its answers differ for a batch or for one image.
    """
    example = torch.zeros(2, 3, *image_size)
    example[1] = torch.linspace(-2, 2, image_size[1])
    try:
        with torch.inference_mode():
            expected = network(example).numpy()
        torch.onnx.export(
            network,
            (example,),
            str(file),
            input_names=["images"],
            output_names=["embedding"],
            dynamic_shapes=({0: torch.export.Dim("batch", min=1)},),
            opset_version=_OPSET,
            dynamo=True,
            external_data=False,
            verbose=False,
        )
    except Exception as error:  # any of torch's, onnxscript's and onnx's
        raise RunError(
            f"the export of {name} failed ({type(error).__name__}: {error})",
            fix="update the extra: pip install -U 'crosscam[train]'",
        ) from error
    drop_traces(file)
    images = example.numpy()
    opened = session(file)
    found = opened.run(None, {"images": images})[0]
    single = opened.run(None, {"images": images[1:]})[0]
    worst = max(float(np.abs(found - expected).max()), float(np.abs(single - expected[1:]).max()))
    worst /= float(np.abs(expected).max()) or 1.0
    if not worst <= _MAX_ERROR:
        raise RunError(
            f"the exported graph of {name} differs from the network by {worst:.2g}",
            expected=f"at most {_MAX_ERROR}",
            fix="update torch and onnxscript, and report the model",
        )
