"""`crosscam simulate serve`: recordings as cameras, over RTSP."""

from __future__ import annotations

from pathlib import Path

import click

from crosscam_edge.cli.progress import stop_on_signals


@click.command("serve")
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--host", default="127.0.0.1", show_default=True, help="Where to listen.")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=8554,
    show_default=True,
    help="0 takes any that is free.",
)
@click.option(
    "--site",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Also write a site file for `crosscam run`.",
)
def command(folder: Path, host: str, port: int, site: Path | None) -> None:
    """Serve the videos of FOLDER as cameras: over RTSP, in real time, over and over.

    FOLDER is what `crosscam simulate` wrote, or any folder of recordings (H.264 or H.265 in .mp4
    or .mkv). Needs the extra `rtsp`. There is no password: whoever reaches the port sees all of the
    folder. Ctrl-C ends it.
    """
    from crosscam_edge.simulate.serve import addresses, cameras_of, serve, write_site

    cameras, left = cameras_of(folder)
    for each in left:
        click.echo(f"left out: {each}", err=True)

    def ready(port: int) -> None:
        urls = addresses(cameras, folder, host, port)
        for name, url in urls.items():
            click.echo(f"{name}: {url}")
        if site is not None:
            write_site(site, folder, urls)
            click.echo(f"next: crosscam run {site} -o live/")

    with stop_on_signals() as stop:
        serve(folder, host, port, stop, ready)
