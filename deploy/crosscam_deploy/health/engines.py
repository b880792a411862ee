"""Checks of what runs: each inference engine and the video decoders are really used once."""

from __future__ import annotations

import base64
import importlib.metadata
import importlib.util
import io
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from crosscam_deploy.engines.api import find_tensorrt, is_installed
from crosscam_deploy.engines.device import find_device
from crosscam_deploy.health.check import Check, Status
from crosscam_kernels.errors import CrosscamError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from crosscam_deploy.engines.api import Flavour

_AREA = "engines"
# A graph of two nodes, global average pooling and flatten: (n, 3, 8, 8) -> (n, 3). Made with
# onnx.helper, opset 13, so that the engines are tried when no model is at hand.
_PROBE = (
    "CAg6ZwoZCgF4EgFwIhFHbG9iYWxBdmVyYWdlUG9vbAoPCgFwEgF5IgdGbGF0dGVuEgVwcm9iZVocCgF4EhcKFQgBEhEK"
    "AxIBbgoCCAMKAggICgIICGIUCgF5Eg8KDQgBEgkKAxIBbgoCCANCBAoAEA0="
)


def checks() -> Iterator[Check]:
    """Yield the findings about inference engines and decoders."""
    results = [_openvino(), _onnxruntime()]
    if not any(result.status is Status.OK for result in results):
        fix = "pip install --force-reinstall onnxruntime"
        yield Check(_AREA, "inference", Status.PROBLEM, "no engine works", fix)
    yield from results
    yield from _gpu_engines()
    yield _decoders()
    yield _ffmpeg()


def _try(name: str, package: str, run: Any) -> Check:
    if importlib.util.find_spec(package) is None:
        fix = f"pip install {package}"
        return Check(_AREA, name, Status.WARNING, "not installed", fix)
    images = np.random.default_rng(0).random((2, 3, 8, 8), np.float32)
    try:
        with tempfile.TemporaryDirectory(prefix="crosscam-doctor-") as folder:
            file = Path(folder) / "probe.onnx"
            file.write_bytes(base64.b64decode(_PROBE))
            answer, found = run(file, images)
        if not np.allclose(answer, images.mean((2, 3)), atol=1e-2):
            raise ValueError("wrong numbers come out")
    except Exception as error:  # whatever a broken installation throws is the finding
        fix = f"pip install --force-reinstall {package}"
        found = f"does not work ({type(error).__name__}: {str(error)[:200]})"
        return Check(_AREA, name, Status.WARNING, found, fix)
    return Check(_AREA, name, Status.OK, found)


def _openvino() -> Check:
    def run(file: Path, images: Any) -> tuple[Any, str]:
        from crosscam_deploy.runtime.openvino_graph import core, load

        compiled = core().compile_model(core().read_model(str(file)), "CPU")
        chosen = str(compiled.get_property("INFERENCE_PRECISION_HINT"))
        precision = "bf16" if "bfloat16" in chosen else "f32"
        devices = ", ".join(core().available_devices)
        version = load().__version__.split("-")[0]
        return compiled(images)[0], f"{version}, devices {devices}, {precision} by default"

    return _try("OpenVINO", "openvino", run)


def _onnxruntime() -> Check:
    def run(file: Path, images: Any) -> tuple[Any, str]:
        import onnxruntime as ort

        from crosscam_deploy.runtime.onnxruntime_engine import session

        answer = session(file).run(None, {"x": images})[0]
        providers = (p.removesuffix("ExecutionProvider") for p in ort.get_available_providers())
        return answer, f"{ort.__version__}, providers {', '.join(providers)}"

    return _try("ONNX Runtime", "onnxruntime", run)


def _gpu_engines() -> Iterator[Check]:
    """Yield whether engines for NVIDIA GPUs can be built and run; none is built for it."""
    try:
        device, broken = find_device(), ""
    except CrosscamError as error:
        device, broken = None, error.found
    if broken:
        fix = "look at nvidia-smi; models run on the processor meanwhile"
        yield Check(_AREA, "CUDA device", Status.WARNING, broken, fix)
    elif device is None:
        found = "none, or no cuda-python: models run on the processor"
        fix = "on a machine with an NVIDIA GPU: pip install 'crosscam[tensorrt]'"
        yield Check(_AREA, "CUDA device", Status.INFO, found, fix)
    else:
        found = f"{device.name}, compute capability {device.capability}, "
        found += f"driver for CUDA {device.driver}"
        yield Check(_AREA, "CUDA device", Status.OK, found)
    yield _tensorrt("tensorrt", "TensorRT", usable=device is not None)
    yield _tensorrt("tensorrt-rtx", "TensorRT-RTX", usable=device is not None)
    yield _torch()


def _torch() -> Check:
    """Say what the torch runtime has, which nobody needs; torch is not loaded for it."""
    from crosscam_deploy.runtime.torch_compile import compiler

    try:
        version = importlib.metadata.version("torch")
    except importlib.metadata.PackageNotFoundError:
        return Check(_AREA, "torch", Status.INFO, "not installed (not needed to run models)")
    found = compiler()
    compiles = f"compiles by {found}" if found else "compiles nothing: no C++ compiler"
    return Check(_AREA, "torch", Status.INFO, f"{version}, a runtime by name; {compiles}")


def _tensorrt(flavour: Flavour, name: str, *, usable: bool) -> Check:
    if not is_installed(flavour):
        found = "not installed"
        if not usable:
            return Check(_AREA, name, Status.INFO, f"{found} (not needed without an NVIDIA GPU)")
        return Check(_AREA, name, Status.INFO, found, f"pip install 'crosscam[{flavour}]'")
    try:
        version = find_tensorrt(flavour).version
    except CrosscamError as error:
        return Check(_AREA, name, Status.WARNING, error.found, error.fix)
    except Exception as error:  # whatever a broken installation throws is the finding
        found = f"does not work ({type(error).__name__}: {str(error)[:200]})"
        return Check(_AREA, name, Status.WARNING, found, f"pip install 'crosscam[{flavour}]'")
    if usable:
        return Check(_AREA, name, Status.OK, f"{version}: engines are built at first use")
    builds = "builds engines" if flavour == "tensorrt-rtx" else "builds none"
    return Check(_AREA, name, Status.INFO, f"{version}, without a GPU it {builds} and runs none")


def _decoders() -> Check:
    fix = "pip install --force-reinstall av"
    try:
        import av

        missing = [n for n in ("h264", "hevc", "mjpeg") if n not in av.codecs_available]
        frames = _round_trip(av)
    except Exception as error:  # whatever a broken installation throws is the finding
        found = f"PyAV does not work ({type(error).__name__}: {str(error)[:200]})"
        return Check(_AREA, "video decoding", Status.PROBLEM, found, fix)
    if frames != 3:
        found = f"PyAV {av.__version__} returned {frames} of 3 frames"
        return Check(_AREA, "video decoding", Status.PROBLEM, found, fix)
    if missing:
        found = f"PyAV {av.__version__} lacks {', '.join(missing)}"
        return Check(_AREA, "video decoding", Status.WARNING, found, fix)
    found = f"PyAV {av.__version__} with H.264, HEVC and MJPEG"
    return Check(_AREA, "video decoding", Status.OK, found)


def _round_trip(av: Any) -> int:
    """Encode three frames in memory and count those that come back."""
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="matroska") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
        for level in (0, 100, 200):
            image = np.full((64, 64, 3), level, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="bgr24")))
        container.mux(stream.encode())
    buffer.seek(0)
    with av.open(buffer) as container:
        return sum(1 for _ in container.decode(video=0))


def _ffmpeg() -> Check:
    path = shutil.which("ffmpeg")
    found = path or "not installed (not needed: PyAV brings its own libraries)"
    return Check(_AREA, "ffmpeg command", Status.INFO, found)
