"""Peak memory of `crosscam process` on a video and on the same video ten times in a row.

The long video holds the same packets again and again (nothing is encoded anew), so it asks for the
same work per frame, and ten times as many people who come and go. Peak is the largest resident set
of the process, from start to end; everything is written, report and videos too, unless said.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import av
from bytecode import compiled_env

_OUTPUTS = {"tables": ["--no-video", "--no-report", "--no-crops"], "everything": []}


def repeat(source: Path, target: Path, times: int) -> None:
    """Write the packets of a video `times` times, one after another."""
    with av.open(str(target), "w") as out:
        stream, offset = None, 0
        for _ in range(times):
            with av.open(str(source)) as container:
                video = container.streams.video[0]
                if stream is None:
                    stream = out.add_stream_from_template(video)
                end = offset
                for packet in container.demux(video):
                    if packet.dts is None:
                        continue
                    packet.pts = (packet.pts if packet.pts is not None else packet.dts) + offset
                    packet.dts += offset
                    end = max(end, packet.dts + (packet.duration or 1))
                    packet.stream = stream
                    out.mux(packet)
                offset = end


def measure(video: Path, options: list[str], scratch: Path, env: dict[str, str]) -> dict[str, Any]:
    """Run the command and return its peak resident set."""
    out = scratch / "out"
    start_cli = "from crosscam_edge.cli import main; main()"
    words = [sys.executable, "-c", start_cli, "process", str(video), "-o", str(out)]
    start = time.perf_counter()
    with (scratch / "log").open("w+") as log:
        process = subprocess.Popen(
            [*words, "--overwrite", "--json", *options], env=env, stdout=log, stderr=log
        )
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        log.seek(0)
        if process.returncode != 0:
            sys.exit(f"crosscam process ended with {process.returncode}:\n{log.read()[-3000:]}")
    seconds = time.perf_counter() - start
    run = json.loads((out / "run.json").read_text())
    return {
        "frames": run["figures"]["frames"],
        "seconds": round(seconds, 1),
        "peak_mib": round(usage.ru_maxrss / 1024, 1),
    }


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--assets", type=Path, default=os.environ.get("CROSSCAM_ASSETS"))
    parser.add_argument("--video", default="vtest.avi", help="file in videos/ of the assets")
    parser.add_argument("--times", type=int, default=10)
    parser.add_argument("--detector", help="as of `crosscam process`")
    parser.add_argument("--embedder", help="as of `crosscam process`")
    parser.add_argument("--output", type=Path, help="where to write the figures as JSON")
    chosen = parser.parse_args()
    if chosen.assets is None:
        parser.error("no assets: give --assets or set CROSSCAM_ASSETS")
    models = [f"--{kind}={getattr(chosen, kind)}" for kind in ("detector", "embedder")]
    options = [word for word in models if not word.endswith("=None")]
    results: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(prefix="crosscam-memory-") as folder:
        env = compiled_env(Path(folder) / "bytecode")
        short = Path(chosen.assets) / "videos" / chosen.video
        long = Path(folder) / f"long{short.suffix}"
        repeat(short, long, chosen.times)
        for name, words in _OUTPUTS.items():
            rows = [measure(v, options + words, Path(folder), env) for v in (short, long)]
            results[name] = {"1": rows[0], str(chosen.times): rows[1]}
            ratio = rows[1]["peak_mib"] / rows[0]["peak_mib"]
            print(f"{name}: {rows[0]} | {chosen.times} times: {rows[1]} | ratio {ratio:.2f}")
    if chosen.output:
        environment = {"machine": platform.machine(), "cores": os.cpu_count()}
        content = {"environment": environment, "video": chosen.video, "results": results}
        chosen.output.write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main()
