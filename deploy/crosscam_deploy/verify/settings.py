"""The ways to run a bundle on this machine that are worth comparing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from crosscam_deploy.runtime import available_runtimes
from crosscam_deploy.runtime.open import FLAVOURS, gpu_runtimes, quantises_while_running
from crosscam_deploy.verify.types import Candidate
from crosscam_kernels.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from crosscam_deploy.bundle import Bundle
    from crosscam_deploy.runtime import Precision
    from crosscam_deploy.verify.types import Engine


def engines_for(bundle: Bundle) -> list[Engine]:
    """Return the installed engines that run a bundle's format, those of GPUs last."""
    engines: list[Engine] = ["onnxruntime", "openvino"]
    installed = available_runtimes()
    onnx = bundle.manifest.format == "onnx"
    found = [name for name in engines if name in installed and (name == "openvino" or onnx)]
    on_gpu = gpu_runtimes() if onnx else []
    return [*found, *on_gpu] if on_gpu and not quantises_while_running(bundle) else found


def precisions_of(engine: Engine) -> list[Precision]:
    """Return the numbers that an engine computes in on this machine, the most exact first."""
    if engine in FLAVOURS:
        return ["auto"]  # the types of the graph
    if engine != "openvino":
        return ["f32"]
    from crosscam_deploy.runtime.openvino_graph import core

    capabilities = core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    return ["f32", "bf16"] if "BF16" in capabilities else ["f32"]


def reference_for(bundle: Bundle, *, input_size: tuple[int, int] | None = None) -> Candidate:
    """Return a bundle in float32: in ONNX Runtime, or in OpenVINO where it is not ONNX.

    Raises:
        UsageError: No installed engine runs it.
    """
    engines = engines_for(bundle)
    if not engines:
        raise UsageError(
            f"no installed engine runs {bundle.manifest.name} ({bundle.manifest.format})",
            fix="pip install openvino",
        )
    return Candidate(bundle=bundle.path, runtime=engines[0], input_size=input_size)


def plain(bundle: Bundle) -> Candidate | None:
    """Return a bundle in ONNX Runtime's own defaults; None where it is not ONNX."""
    if bundle.manifest.format != "onnx":
        return None
    return Candidate(bundle=bundle.path, runtime="onnxruntime-plain")


def combinations(
    bundle: Bundle,
    *,
    runtimes: Sequence[Engine] = (),
    precisions: Sequence[Precision] = (),
    threads: Sequence[int] = (0,),
    streams: Sequence[int] = (1,),
    input_size: tuple[int, int] | None = None,
) -> list[Candidate]:
    """Return every combination of settings for a bundle.

    Args:
        bundle: What to run.
        runtimes: Engines; all that are installed and run it if none is given.
        precisions: What they compute in; all that each knows here if none is given. An engine is
            left out for a precision that it does not know, unless it would be left out altogether.
            TensorRT computes in the types of the graph whatever is given.
        threads: Numbers of threads; 0 is one a core. Not for TensorRT.
        streams: Numbers of batches at the same time.
        input_size: Height and width in pixels instead of the manifest's.
    """
    chosen: list[Candidate] = []
    for engine in runtimes or engines_for(bundle):
        if engine in FLAVOURS:
            chosen += [
                Candidate(
                    bundle=bundle.path,
                    runtime=engine,
                    precision="auto",
                    streams=at_once,
                    input_size=input_size,
                )
                for at_once in streams
            ]
            continue
        known = precisions_of(engine)
        wanted = [p for p in precisions if p in known or p == "auto"] if precisions else known
        chosen += [
            Candidate(
                bundle=bundle.path,
                runtime=engine,
                precision=precision,
                threads=each,
                streams=at_once,
                input_size=input_size,
            )
            for precision in wanted or precisions
            for each in threads
            for at_once in streams
        ]
    return chosen
