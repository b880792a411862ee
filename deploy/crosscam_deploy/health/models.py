"""Checks of the models: where they are looked for, which are there, whether the best ones run."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import numpy as np

from crosscam_deploy.health.check import Check, Status
from crosscam_deploy.paths import MODELS_ENV, model_dirs
from crosscam_deploy.zoo import best_available, is_packaged, list_models
from crosscam_deploy.zoo.entries import default_order
from crosscam_kernels.errors import CrosscamError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from crosscam_deploy.zoo.entries import Task

_AREA = "models"


def checks() -> Iterator[Check]:
    """Yield the findings about models."""
    yield _folders()
    here = [status.name for status in list_models() if status.available]
    found = ", ".join(here) or "none"
    yield Check(_AREA, "on this machine", Status.INFO, found)
    yield _best("detect", "detector", "a motion detector for fixed cameras is used")
    yield _best("embed", "re-identification", "colour and texture are used")


def _folders() -> Check:
    folders = model_dirs()
    missing = [str(folder) for folder in folders if not folder.is_dir()]
    if missing:
        found = f"{MODELS_ENV} names {', '.join(missing)}, which is not there"
        return Check(_AREA, "folders", Status.WARNING, found, f"correct or unset {MODELS_ENV}")
    found = ", ".join(str(folder) for folder in folders) or f"{MODELS_ENV} is not set"
    return Check(_AREA, "folders", Status.INFO, found)


def _best(task: Task, name: str, fallback: str) -> Check:
    from crosscam_deploy.runtime import open_runtime

    pull = f"crosscam models pull {default_order(task)[0]}"
    try:
        bundle = best_available(task)
        if bundle is None:
            return Check(_AREA, name, Status.WARNING, f"none: {fallback}, which is weaker", pull)
        runtime = open_runtime(bundle)
        try:
            runtime.warm_up()
            black = np.zeros((1, 3, *runtime.input_size), np.float32)
            start = time.perf_counter()
            runtime.infer(black)
            took = 1000 * (time.perf_counter() - start)
            found = f"{bundle.manifest.name} in {runtime.name} ({runtime.precision}), "
            found += f"{took:.0f} ms an image; licence {bundle.manifest.licence}"
        finally:
            runtime.close()
    except CrosscamError as error:
        return Check(_AREA, name, Status.PROBLEM, error.found, error.fix or pull)
    if is_packaged(bundle):
        found += "; comes with crosscam, others are stronger"
        return Check(_AREA, name, Status.WARNING, found, pull)
    return Check(_AREA, name, Status.OK, found)
