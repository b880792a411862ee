"""Which detector a run uses, and why."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from crosscam_deploy.runtime import open_runtime
from crosscam_edge.detect.model import ModelDetector
from crosscam_edge.detect.motion import MotionDetector
from crosscam_edge.detect.scale import can_choose
from crosscam_edge.model_choice import choose_bundle
from crosscam_kernels.errors import UsageError

if TYPE_CHECKING:
    from crosscam_edge.detect.base import Detector


def choose_detector(
    name: str | None,
    *,
    min_confidence: float,
    threads: int = 0,
    streams: int = 1,
    longest: int | None = None,
) -> tuple[Detector, str]:
    """Open the detector of a run.

    Args:
        name: Bundle or zoo name, ``"motion"``, or None for the best at hand.
        min_confidence: Boxes with a lower score are dropped, in [0, 1].
        threads: Threads of the engine; 0 for one a core.
        streams: Images that are worked on at the same time.
        longest: Longest side of the network's input in pixels; None to let the picture decide.

    Returns:
        The detector, and in words why it is this one.

    Raises:
        InputError: The name is unknown or the bundle damaged.
        RunError: It cannot be downloaded or run here.
        UsageError: `longest` was given and the detector has no input size to choose.
    """
    if name == MotionDetector.name:
        if longest is not None:
            raise UsageError(
                f"detector_size is {longest} and the detector is '{name}', which has no input size",
                expected="detector_size only for a YOLO network",
                fix="leave detector_size out, or choose a model with --detector",
            )
        return MotionDetector(), "asked for"
    bundle, why = choose_bundle(name, "detect", otherwise="motion finds whatever moves")
    if bundle is None:
        return MotionDetector(), why
    if longest is not None and not can_choose(bundle.manifest):
        raise UsageError(
            f"detector_size is {longest} and '{bundle.manifest.name}' takes one input size only",
            expected="detector_size only for a YOLO network that letterboxes",
            fix="leave detector_size out",
        )
    opener = partial(open_runtime, bundle, threads=threads, streams=streams)
    detector = ModelDetector(
        # lazy: most pictures are looked at in another size than the published one
        opener(lazy=True),
        min_confidence,
        reopen=lambda size: opener(input_size=size),
        longest=longest,
    )
    return detector, why
