"""Export of checkpoints into bundles; needs an extra, loaded only when asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from crosscam_deploy.bundle import Bundle
    from crosscam_deploy.zoo.entries import ZooEntry


def export_entry(entry: ZooEntry, target: Path, *, progress: bool = True) -> Bundle:
    """Make the bundle of a zoo entry that is published as a checkpoint.

    Args:
        entry: Has an `export`.
        target: Folder of the new bundle.
        progress: Whether to show downloads on standard error.

    Raises:
        MissingExtraError: The entry's extra is not installed.
        RunError: The export failed, or its result differs from the checkpoint.
    """
    assert entry.export is not None
    if entry.export.kind == "ultralytics":
        from crosscam_deploy.export.ultralytics import export_ultralytics_entry

        return export_ultralytics_entry(entry, target, progress=progress)
    if entry.export.kind == "osnet":
        from crosscam_deploy.export.osnet import export_osnet_entry

        return export_osnet_entry(entry, target, progress=progress)
    from crosscam_deploy.export.open_clip import export_open_clip

    return export_open_clip(
        entry.export.checkpoint,
        target,
        name=target.name,
        licence=entry.licence,
        training=entry.training,
    )
