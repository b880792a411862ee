"""ONNX Runtime as it comes, without one option set: what others are as fast as, or faster."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from crosscam_deploy.runtime.base import check_outputs, native_size
from crosscam_deploy.runtime.onnxruntime_engine import takes_any_size
from crosscam_kernels.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from crosscam_deploy.bundle import Bundle
    from crosscam_deploy.runtime.base import Outputs


class PlainSession:
    """An ``InferenceSession`` on the CPU, called once a batch; one by one where that is fixed.

    Attributes:
        precision: What it computes in.
        input_size: Height and width in pixels.

    Raises:
        InputError: The bundle is not an ONNX graph, or ONNX Runtime does not take it.
    """

    precision = "f32"

    def __init__(self, bundle: Bundle) -> None:
        import onnxruntime as ort

        if bundle.manifest.format != "onnx":
            raise InputError(
                f"{bundle.manifest.name} is an OpenVINO model, ONNX Runtime cannot run it",
                expected="an ONNX bundle",
            )
        takes_any_size(bundle)  # what every graph is checked for, before an engine reads it
        try:
            self._session = ort.InferenceSession(
                str(bundle.model_path), providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # its classes are private and differ between versions
            raise InputError(
                f"ONNX Runtime cannot open {bundle.model_path.name}: "
                f"{str(error).splitlines()[0][:300]}"
            ) from error
        self.input_size = native_size(bundle)
        self._bundle = bundle
        first = self._session.get_inputs()[0].shape[0]
        self._step = first if isinstance(first, int) and first > 0 else None

    def infer(self, batch: NDArray[np.float32]) -> Outputs:
        """Run a `(B, 3, H, W)` float32 batch; returns the outputs in manifest order."""
        if self._step is None or len(batch) == self._step:
            return check_outputs(self._bundle, len(batch), self._call(batch))
        missing = -len(batch) % self._step
        if missing:
            batch = np.concatenate([batch, np.zeros((missing, *batch.shape[1:]), np.float32)])
        parts = [
            self._call(batch[start : start + self._step])
            for start in range(0, len(batch), self._step)
        ]
        count = len(batch) - missing
        columns = [np.concatenate(column)[:count] for column in zip(*parts, strict=True)]
        return check_outputs(self._bundle, count, columns)

    def _call(self, batch: NDArray[np.float32]) -> Outputs:
        manifest = self._bundle.manifest
        outputs: Outputs = self._session.run(
            list(manifest.output_names), {manifest.input_name: batch}
        )
        return outputs

    def close(self) -> None:
        """Free the engine."""
        del self._session
