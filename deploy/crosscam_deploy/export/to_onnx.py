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
    # Nothing of one colour: where instance norm divides by no contrast at all, what two engines
    # round differently becomes large.
    drawn = torch.Generator().manual_seed(0)
    example = torch.randn(2, 3, *image_size, generator=drawn)
    dynamic = {0: torch.export.Dim("batch", min=1)}
    try:
        with torch.inference_mode():
            expected = network(example).numpy()
    except Exception as error:  # any of torch's
        raise _failed(name, error) from error
    write_graph(torch, network, example, dynamic, file, output="embedding", name=name)
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


def write_graph(
    torch: Any,
    network: Any,
    example: Any,
    dynamic: dict[int, Any],
    file: Path,
    *,
    output: str,
    name: str,
    given: str = "images",
) -> None:
    """Write a network of one input as ONNX, with nothing of the machine in it.

    Args:
        torch: The module.
        network: In evaluation mode.
        example: The input; B is at least 2 where it may be another.
        dynamic: Axes of the input that take other lengths, as `torch.export` has them.
        file: Where to write; one file, weights inside.
        output: What the graph calls its answer.
        name: For error messages.
        given: What the graph calls its input.

    Raises:
        RunError: The export failed.
    """
    try:
        torch.onnx.export(
            network,
            (example,),
            str(file),
            input_names=[given],
            output_names=[output],
            dynamic_shapes=(dynamic,),
            opset_version=_OPSET,
            dynamo=True,
            external_data=False,
            verbose=False,
        )
    except Exception as error:  # any of torch's, onnxscript's and onnx's
        raise _failed(name, error) from error
    drop_traces(file)


def _failed(name: str, error: Exception) -> RunError:
    return RunError(
        f"the export of {name} failed ({type(error).__name__}: {error})",
        fix="update the extra: pip install -U 'crosscam[train]'",
    )
