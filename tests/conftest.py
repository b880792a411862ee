"""What all tests share: where the real weights and footage are, and a quiet environment."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest
from hypothesis import HealthCheck, Phase

from crosscam_deploy.log import configure

# OpenVINO's usage reports and thread oversubscription have no place in a test run.
os.environ.setdefault("OMP_NUM_THREADS", "2")

# A busy machine is no fault of the code: pytest-timeout bounds each test anyway.
# A commit passes or fails, never by luck: examples follow from the test alone. `make fuzz` searches
# with fresh ones, and what it finds becomes a test.
_SLOW = [HealthCheck.too_slow]
hypothesis.settings.register_profile(
    "crosscam", deadline=None, derandomize=True, suppress_health_check=_SLOW
)
hypothesis.settings.register_profile(
    "search", deadline=None, max_examples=2000, suppress_health_check=_SLOW
)
# `make mutation` asks only whether there is a failing example, not for the smallest.
hypothesis.settings.register_profile(
    "mutation",
    deadline=None,
    derandomize=True,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=_SLOW,
)
hypothesis.settings.load_profile(os.environ.get("CROSSCAM_HYPOTHESIS", "crosscam"))


@pytest.fixture(scope="session")
def assets() -> Path:
    """Folder with real models, videos and ground truth (`CROSSCAM_ASSETS`)."""
    folder = os.environ.get("CROSSCAM_ASSETS")
    if not folder or not Path(folder).is_dir():
        pytest.skip("CROSSCAM_ASSETS does not name a folder with test footage")
    return Path(folder)


@pytest.fixture(autouse=True)
def _quiet_again() -> Iterator[None]:
    """Let no test hear what another one wanted to be told."""
    yield
    configure()
