"""Which pictures make a batch: by person, by camera, or any; distributed and resumable."""

from __future__ import annotations

from crosscam_trainer.data.samplers.base import EpochSampler
from crosscam_trainer.data.samplers.camera import CameraSampler
from crosscam_trainer.data.samplers.draws import Draws
from crosscam_trainer.data.samplers.person import PersonSampler
from crosscam_trainer.data.samplers.plain import InOrder, Shuffled

__all__ = ["CameraSampler", "Draws", "EpochSampler", "InOrder", "PersonSampler", "Shuffled"]
