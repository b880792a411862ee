"""The people generator: whole rendered people for training, with every label known."""

from __future__ import annotations

from crosscam_trainer.people.config import PeopleConfig
from crosscam_trainer.people.run import GeneratedPeople, generate

__all__ = ["GeneratedPeople", "PeopleConfig", "generate"]
