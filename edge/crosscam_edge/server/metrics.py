"""The figures of a run as Prometheus reads them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import psutil
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
)

from crosscam_edge.live.camera import CameraState
from crosscam_edge.live.rates import Pace

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from prometheus_client.core import Metric

    from crosscam_edge.gallery import Gallery
    from crosscam_edge.live.camera import CameraHealth
    from crosscam_edge.live.latency import Latency
    from crosscam_edge.server.limits import Attempts
    from crosscam_edge.server.patience import Slow
    from crosscam_edge.server.site import Site
    from crosscam_edge.server.tokens import Caller

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


def metrics_text(
    site: Site,
    caller: Caller,
    dropped: Callable[[], Mapping[str, int]],
    *,
    slow: Slow,
    pace: Attempts,
) -> bytes:
    """Return the figures that a caller may know of, in Prometheus' text format 0.0.4.

    Args:
        site: The run.
        caller: Who asks; tokens of some cameras get the figures of these and of nothing else.
        dropped: Records that were dropped, by where they should have gone.
        slow: Requests that came too slowly.
        pace: Requests that were too many.
    """
    registry = CollectorRegistry()
    registry.register(_Figures(site, caller, dropped, slow, pace))
    return bytes(generate_latest(registry))


class _Figures:
    """Reads everything at one time; nothing is counted twice."""

    def __init__(
        self,
        site: Site,
        caller: Caller,
        dropped: Callable[[], Mapping[str, int]],
        slow: Slow,
        pace: Attempts,
    ) -> None:
        self._site, self._caller, self._dropped, self._slow = site, caller, dropped, slow
        self._pace = pace

    def collect(self) -> Iterator[Metric]:
        yield from self._of_cameras()
        if self._caller.cameras is None:
            yield from self._of_run()

    def _of_cameras(self) -> Iterator[Metric]:
        cameras = self._site.cameras(self._caller)
        states = GaugeMetricFamily(
            "crosscam_cameras", "Cameras, by what they are doing.", labels=["state"]
        )
        for state in CameraState:
            states.add_metric([state.value], sum(each.state is state for each in cameras))
        yield states
        up = GaugeMetricFamily(
            "crosscam_camera_up", "Whether pictures come from a camera.", labels=["camera"]
        )
        rate = GaugeMetricFamily(
            "crosscam_camera_frame_rate", "Pictures a second that come.", labels=["camera"]
        )
        look = GaugeMetricFamily(
            "crosscam_camera_look_rate",
            "Pictures a second that are looked at, if so many come.",
            labels=["camera"],
        )
        paces = GaugeMetricFamily(
            "crosscam_camera_pace",
            "1 for whether a camera is looked at as often as is wanted, less often, or less often "
            "than twice a second.",
            labels=["camera", "pace"],
        )
        for each in cameras:
            up.add_metric([each.camera_id], each.state is CameraState.RUNNING)
            rate.add_metric([each.camera_id], each.frame_rate)
            look.add_metric([each.camera_id], each.look_rate)
            for pace in Pace:
                paces.add_metric([each.camera_id, pace.value], each.pace is pace)
        yield from (up, rate, look, paces)
        latencies = self._site.run.latencies()
        yield _histograms(
            "crosscam_camera_latency_seconds",
            "From when a picture was taken to what is known of it, by camera.",
            "camera",
            {c.camera_id: latencies[c.camera_id] for c in cameras if c.camera_id in latencies},
        )
        looked, broken = self._site.run.looked_at(), self._site.run.failures()
        counts: tuple[tuple[str, str, dict[str, int]], ...] = (
            ("received", "Pictures that came.", {c.camera_id: c.received for c in cameras}),
            (
                "dropped",
                "Pictures that a newer one replaced before they were taken.",
                {c.camera_id: c.dropped for c in cameras},
            ),
            ("looked_at", "Pictures in which people were looked for.", looked),
            ("broken", "Pictures that could not be looked at.", broken),
            (
                "connections",
                "Times that a camera was connected.",
                {c.camera_id: c.connections for c in cameras},
            ),
        )
        for name, meaning, values in counts:
            unit = "" if name == "connections" else "pictures_"
            family = CounterMetricFamily(f"crosscam_{unit}{name}", meaning, labels=["camera"])
            for each in cameras:
                family.add_metric([each.camera_id], values.get(each.camera_id, 0))
            yield family
        yield from self._of_tracks(cameras)

    def _of_tracks(self, cameras: Sequence[CameraHealth]) -> Iterator[Metric]:
        became = self._site.run.tracks()
        embedded = CounterMetricFamily(
            "crosscam_crops_embedded", "Looks at people that were taken.", labels=["camera"]
        )
        tracks = CounterMetricFamily(
            "crosscam_tracks",
            "Tracks that were confirmed, found again by looks, or ended because they had become "
            "somebody else by looks.",
            labels=["camera", "what"],
        )
        for each in cameras:
            counts = became.get(each.camera_id, {})
            embedded.add_metric([each.camera_id], counts.get("embedded", 0))
            for what in ("confirmed", "refound", "changed"):
                tracks.add_metric([each.camera_id, what], counts.get(what, 0))
        yield from (embedded, tracks)

    def _of_run(self) -> Iterator[Metric]:
        run = self._site.run
        buckets, total = _buckets(run.latency)
        yield HistogramMetricFamily(
            "crosscam_latency_seconds",
            "From when a picture was taken to what is known of it, all cameras.",
            buckets=buckets,
            sum_value=total,
        )
        yield _histograms(
            "crosscam_stage_latency_seconds",
            "Parts of it: until a picture arrives, is taken, its people are known, their tracks, "
            "and that is told.",
            "stage",
            run.stages,
        )
        queues = GaugeMetricFamily(
            "crosscam_queue_depth", "What waits, by where.", labels=["queue"]
        )
        for name, depth in run.queues().items():
            queues.add_metric([name], depth)
        if self._site.gallery is not None:
            queues.add_metric(["gallery"], len(self._site.gallery.writer))
            yield from self._of_gallery(self._site.gallery)
        yield queues
        people = run.identities.online.people
        yield GaugeMetricFamily("crosscam_people", "People who would be known again.", len(people))
        yield GaugeMetricFamily(
            "crosscam_tracklets", "Tracklets that they would be known by.", people.tracklets
        )
        events = CounterMetricFamily(
            "crosscam_identity_events", "What happened to identities.", labels=["kind"]
        )
        for kind, value in sorted(dict(run.identities.online.counts).items()):
            events.add_metric([str(kind)], value)
        yield events
        drops = CounterMetricFamily(
            "crosscam_records_dropped", "Records that were dropped.", labels=["sink"]
        )
        for sink, value in self._dropped().items():
            drops.add_metric([sink], value)
        yield drops
        kept, gone = self._site.audit_rows()
        yield GaugeMetricFamily("crosscam_audit_rows", "Requests that the audit holds.", kept)
        yield CounterMetricFamily(
            "crosscam_audit_rows_dropped",
            "Requests that the audit let go, for they were too old or too many.",
            gone,
        )
        yield CounterMetricFamily(
            "crosscam_slow_clients",
            "Followers of events that were dropped because they were too slow.",
            self._site.hub.missed,
        )
        yield CounterMetricFamily(
            "crosscam_slow_requests",
            "Requests that were refused because they came too slowly.",
            self._slow.count,
        )
        yield CounterMetricFamily(
            "crosscam_requests_refused",
            "Requests that were refused because too many came from one address.",
            self._pace.refused,
        )
        yield CounterMetricFamily(
            "crosscam_searches_refused",
            "Searches by looks that were refused because another one went on.",
            self._site.searches.refused,
        )
        yield GaugeMetricFamily(
            "crosscam_memory_bytes", "Memory of the process.", psutil.Process().memory_info().rss
        )

    def _of_gallery(self, gallery: Gallery) -> Iterator[Metric]:
        yield CounterMetricFamily(
            "crosscam_gallery_writes", "Statements that are on disk.", gallery.writer.written
        )
        yield CounterMetricFamily(
            "crosscam_gallery_writes_dropped",
            "Statements that were dropped because too many waited for the disk.",
            gallery.writer.dropped,
        )
        yield GaugeMetricFamily(
            "crosscam_gallery_bytes", "Size of the gallery's files.", gallery.size_bytes()
        )


def _buckets(latency: Latency) -> tuple[list[tuple[str, float]], float]:
    """Return bounds with their counts, and the sum in seconds."""
    bins = latency.cumulative()
    found = [(f"{bound:.4g}", float(value)) for bound, value in bins[:-1]]
    return [*found, ("+Inf", float(bins[-1][1]))], latency.total_s


def _histograms(
    name: str, meaning: str, label: str, latencies: Mapping[str, Latency]
) -> HistogramMetricFamily:
    family = HistogramMetricFamily(name, meaning, labels=[label])
    for value, latency in latencies.items():
        family.add_metric([value], *_buckets(latency))
    return family
