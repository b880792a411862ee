"""`crosscam run`: watch live cameras and give every person one id, as it happens."""

from __future__ import annotations

import json
import os
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from crosscam_edge.cli.progress import stop_on_signals

if TYPE_CHECKING:
    import threading
    from collections.abc import Mapping

    from crosscam_edge.config import SiteConfig
    from crosscam_edge.live.run import LiveRun
    from crosscam_edge.live.swap_files import SwapRequests
    from crosscam_edge.sinks.fanout import Fanout

_STATUS_S = 5.0


@click.command(name="run")
@click.argument("site", type=click.Path(path_type=Path))
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help="Folder.")
@click.option("--tracks", is_flag=True, help="Write the boxes of every picture too.")
@click.option(
    "--fps",
    type=click.FloatRange(min=0, min_open=True, max=1000),
    help="Look at so many pictures of a camera in a second.",
)
@click.option(
    "--keep-days",
    type=click.FloatRange(min=0),
    default=7.0,
    show_default=True,
    help="Forget people after so many days; 0 keeps nothing on disk.",
)
@click.option(
    "--calibration",
    type=click.Path(path_type=Path, dir_okay=False),
    help="File of `crosscam calibrate` for the embedder.",
)
@click.option("--watch", is_flag=True, help="Take SITE over again as soon as it is written.")
@click.option("--seconds", type=click.FloatRange(min=0.1), help="Stop after so long.")
@click.option("--listen", metavar="HOST:PORT", help="Serve the HTTP interface there.")
@click.option(
    "--tokens",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Who may use it: a file of `crosscam token create`.",
)
@click.option(
    "--tls-cert",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Serve it encrypted: the certificate and its chain (PEM).",
)
@click.option(
    "--tls-key",
    type=click.Path(path_type=Path, dir_okay=False),
    help="The certificate's private key (PEM), which others may not read.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the summary as JSON.")
def command(
    site: Path,
    output: Path,
    tracks: bool,
    fps: float | None,
    keep_days: float,
    calibration: Path | None,
    watch: bool,
    seconds: float | None,
    listen: str | None,
    tokens: Path | None,
    tls_cert: Path | None,
    tls_key: Path | None,
    as_json: bool,
) -> int:
    """Watch the cameras of SITE (YAML) and give every person one id, as it happens.

    Cameras that are lost are tried again for ever; none holds up another. What happens is written
    to events.jsonl in the output folder: people who are new, found again, merged, split, and
    cameras that come and go. gallery.db keeps who was seen: a run in the same folder goes on with
    the same ids. Ctrl-C ends the run cleanly. SIGHUP reads SITE again: cameras may come, go and
    move; a wrong file is refused as a whole.
    """
    # Before numpy is loaded: OpenBLAS would have a thread for each core wait for small products by
    # spinning, on cores that pictures need; a review takes half the processor time without.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

    from contextlib import ExitStack

    from crosscam_edge.associate.site import site_knowledge
    from crosscam_edge.calibration.file import learned_from
    from crosscam_edge.cli.listening import listening
    from crosscam_edge.cli.reloading import Reloading, hangups
    from crosscam_edge.config import load_config
    from crosscam_edge.gallery import AuditBound, Gallery, Pictures
    from crosscam_edge.gallery.topology import GivenFile
    from crosscam_edge.live.clocks import UtcClock
    from crosscam_edge.live.open import live_cameras
    from crosscam_edge.live.outputs import open_outputs, open_rings
    from crosscam_edge.live.run import LiveRun
    from crosscam_edge.live.swap_files import SwapRequests
    from crosscam_edge.offline.lock import FolderLock
    from crosscam_edge.offline.prepare import open_folder
    from crosscam_edge.opening import open_models

    def read() -> SiteConfig:
        found = load_config(site)
        return found if fps is None else found.model_copy(update={"process_fps": fps})

    settings = read()
    clock = UtcClock()
    runs: list[LiveRun] = []
    rings = open_rings(settings.live)
    cameras = live_cameras(settings, clock.now_ns, lambda: runs[0].wake() if runs else None, rings)
    interface = listening(listen, tokens, tls_cert, tls_key)
    open_folder(output)
    opened = open_models(
        settings, cameras=len(cameras), meanwhile="crosscam_edge.associate", live=True
    )
    with (
        FolderLock(output), opened as models, stop_on_signals() as stop, hangups(stop) as hangup,
    ):  # fmt: skip
        learned = learned_from(calibration or settings.calibration, models.embedder.model_id)
        outputs = open_outputs(
            output, settings.live, tracks=tracks, rings=rings, now_ns=clock.now_ns
        )
        given = GivenFile(output).given
        gallery = None

        def emit(record: Mapping[str, Any]) -> None:
            outputs.put(record)
            if interface is not None:
                interface.put(record)

        try:
            if keep_days:
                gallery = Gallery(
                    output / "gallery.db",
                    model_id=models.embedder.model_id,
                    dim=models.embedder.dim,
                    now_ns=clock.now_ns,
                    keep_s=keep_days * 86_400,
                    harvest=settings.live.harvest,
                    audit=AuditBound(settings.live.audit.rows, settings.live.audit.days * 86_400),
                )
            run = LiveRun(
                cameras,
                settings,
                models,
                site=given.applied(site_knowledge([config for config, _ in cameras], learned)),
                now_ns=clock.now_ns,
                emit=emit,
                tracks=outputs.wants("tracks"),
                gallery=gallery,
                rings=rings,
            )
            runs.append(run)
            pictures = None
            if gallery is not None and settings.live.pictures:
                pictures = Pictures(gallery, run.identities.id_of, run.identities.online.ignores)
                run.watchers.append(pictures.look)
            began = time.monotonic()
            with ExitStack() as serving:
                if interface is not None:
                    path = output / "gallery.db"
                    serving.enter_context(interface.serve(run, gallery, path, outputs))
                Reloading(site, read, run, hangup, watch=watch).start(stop)
                swaps = SwapRequests(
                    output, run, threads=settings.threads or 0, streams=models.streams
                )
                _watch(run, outputs, swaps, stop, seconds, quiet=as_json)
                run.run(stop)
                if pictures is not None:
                    pictures.settle(clock.now_ns())
        finally:
            outputs.close()
            if gallery is not None:
                gallery.close()
    summary = _summary(run, output, time.monotonic() - began)
    summary["outputs"] = outputs.counts()
    summary["gallery"] = None if gallery is None else {
        "written": gallery.writer.written,
        "dropped": gallery.writer.dropped,
        "pictures_dropped": 0 if pictures is None else pictures.dropped,
    }  # fmt: skip
    if as_json:
        click.echo(json.dumps(summary))
    else:
        _print(summary)
    return 0


def _watch(
    run: LiveRun,
    outputs: Fanout,
    swaps: SwapRequests,
    stop: threading.Event,
    seconds: float | None,
    *,
    quiet: bool,
) -> None:
    """Begin to tell people how the run is, and to end it in time."""
    import threading

    def work() -> None:
        ends = None if seconds is None else time.monotonic() + seconds
        told = time.monotonic()
        while not stop.wait(0.1):
            swaps.poll()
            now = time.monotonic()
            if ends is not None and now >= ends:
                stop.set()
            if not quiet and now - told >= _STATUS_S:
                told = now
                with suppress(OSError):  # a full disk: this thread has more to do
                    click.echo(_status(run, outputs), err=True)

    threading.Thread(target=work, name="status", daemon=True).start()


def _status(run: LiveRun, outputs: Fanout) -> str:
    from crosscam_edge.live.camera import CameraState
    from crosscam_edge.live.rates import Pace

    health = run.health()
    on = sum(each.state is CameraState.RUNNING for each in health)
    off = [f"{each.camera_id}: {each.fault or each.state}" for each in health
           if each.state is not CameraState.RUNNING]  # fmt: skip
    off += [f"{each.camera_id}: {each.look_rate:.1f} pictures/s" for each in health
            if each.pace is not Pace.FULL]  # fmt: skip
    off += [f"{name}: {each['health']}" for name, each in outputs.counts().items()
            if each["health"] != "ok"]  # fmt: skip
    people = len(run.identities.online.people)
    latency = run.latency.quantile(0.95)
    text = f"{on} of {len(health)} cameras, {people} people, 95 % within {latency:.2f} s"
    return f"{text} ({'; '.join(off)})" if off else text


def _summary(run: LiveRun, output: Path, seconds: float) -> dict[str, Any]:
    looked, latencies = run.looked_at(), run.latencies()
    cameras = {
        each.camera_id: {
            "state": each.state.value,
            "fault": None if each.fault is None else each.fault.value,
            "received": each.received,
            "looked_at": looked[each.camera_id],
            "connections": each.connections,
            "dropped": each.dropped,
            "decoder": each.stream.decoder,
            "pace": each.pace.value,
            "look_rate": round(each.look_rate, 2),
            "latency_s": latencies[each.camera_id].quantiles(),
        }
        for each in run.health()
    }
    online = run.identities.online
    return {
        "output": str(output),
        "seconds": round(seconds, 1),
        "people": len(online.people),
        "events": {str(kind): count for kind, count in sorted(online.counts.items())},
        "cameras": cameras,
        "failed_pictures": run.failures(),
        "latency_s": run.latency.quantiles(),
        "latency_by_stage_s": {name: each.quantiles() for name, each in run.stages.items()},
        "stage_seconds": run.timers.seconds(),
    }


def _print(summary: dict[str, Any]) -> None:
    click.echo(f"{summary['people']} people in {len(summary['cameras'])} camera(s)")
    for name, camera in summary["cameras"].items():
        lost = f", last fault: {camera['fault']}" if camera["fault"] else ""
        click.echo(f"  {name}: {camera['looked_at']} of {camera['received']} pictures{lost}")
    latency = summary["latency_s"]
    if latency["p50"] is not None:
        half, most = latency["p50"], latency["p95"]
        click.echo(f"  from capture to result: half within {half} s, 95 % within {most} s")
    for name, each in summary["outputs"].items():
        lost = f", {each['dropped']} dropped ({each['health']})" if each["dropped"] else ""
        click.echo(f"  {name}: {each['written']} records{lost}")
    kept = summary["gallery"]
    if kept and kept["dropped"]:
        click.echo(f"  gallery: {kept['written']} statements, {kept['dropped']} dropped")
    click.echo(f"  what happened: {summary['output']}/events.jsonl")
