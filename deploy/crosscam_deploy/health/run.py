"""All checks in order; a check that breaks is a finding itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

from crosscam_deploy.health.check import Check, Status

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


def _machine() -> Iterator[Check]:
    from crosscam_deploy.health import machine

    return machine.checks()


def _packages() -> Iterator[Check]:
    from crosscam_deploy.health import packages

    return packages.checks()


def _engines() -> Iterator[Check]:
    from crosscam_deploy.health import engines

    return engines.checks()


def _models() -> Iterator[Check]:
    from crosscam_deploy.health import models

    return models.checks()


# imported one by one: doctor must still speak when a dependency is broken
_GROUPS: dict[str, Callable[[], Iterator[Check]]] = {
    "machine": _machine,
    "packages": _packages,
    "engines": _engines,
    "models": _models,
}


def run_checks() -> list[Check]:
    """Look at this machine; takes a few seconds, writes only into the cache."""
    results: list[Check] = []
    for area, group in _GROUPS.items():
        try:
            results.extend(group())
        except Exception as error:  # doctor reports what is broken and goes on
            found = f"cannot be checked ({type(error).__name__}: {error})"
            fix = "install crosscam again: pip install --force-reinstall crosscam"
            results.append(Check(area, area, Status.PROBLEM, found, fix))
    return results


def can_run(results: list[Check]) -> bool:
    """Say whether the main job (videos in, identities out) can run here."""
    return not any(result.status is Status.PROBLEM for result in results)
