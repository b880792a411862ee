"""The tracker of one camera: detections of a frame in, identities out, one frame after the other.

Association adds up evidence in nats (log-likelihood ratios), as multiple-hypothesis trackers do
(Blackman & Popoli, Design and Analysis of Modern Tracking Systems, 1999): how much better is a
detection explained by this track than by somebody new anywhere in the picture? Motion answers from
the Kalman filter, looks from embeddings that are asked for only where motion leaves a doubt, and
both fade naturally: the longer a track is lost, the less its position says and the more looks must.
Detections are taken in two rounds, sure ones first (Zhang et al., ByteTrack, 2022).

The tracker is deterministic: the same calls give the same tracks, so a stopped run is resumed by
replaying stored detections and embeddings.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import numpy as np

from crosscam_edge.boxes import at_border, iou, share_inside, to_cxcywh, to_xyxy
from crosscam_edge.embed.quality import QualityConfig, crop_quality
from crosscam_edge.track import doubt
from crosscam_edge.track.appearance import AppearanceScale
from crosscam_edge.track.config import TrackerConfig
from crosscam_edge.track.learn import fetch_due, learn
from crosscam_edge.track.looks import FrameDetails, LazyEmbeddings
from crosscam_edge.track.matching import assign, contested, motion_evidence
from crosscam_edge.track.motion import KalmanBatch
from crosscam_edge.track.person import EndedTrack, Move, Person
from crosscam_edge.types import Tracks, TrackState

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from crosscam_edge.embed.translation import Translation
    from crosscam_edge.track.looks import Embed
    from crosscam_edge.types import Detections

_REACH = 3.0  # nats below zero up to which looks may still make a match


class Tracker:
    """Tracks the people of one fixed camera.

    Args:
        config: Settings; the defaults are meant for every camera.
        frame_rate: Nominal frames per second; only used for a frame whose time does not advance.
        quality: Gate for the crops that may be embedded.
        first_id: Of the first track; more than any that this camera has had before.

    Attributes:
        details: What the last `update` did beside the tracks.
        counts: `births`, `confirmed`, `refound` (by looks), `changed` (to another person),
            `embedded` and `evicted` since the start.
        next_id: Of the next track.
    """

    def __init__(
        self,
        config: TrackerConfig | None = None,
        frame_rate: float = 25.0,
        *,
        quality: QualityConfig | None = None,
        first_id: int = 1,
    ) -> None:
        self.config = config or TrackerConfig()
        self.scale = AppearanceScale()
        self.counts: Counter[str] = Counter()
        self.details = FrameDetails(
            np.zeros(0, np.float32),
            np.zeros(0, np.intp),
            np.zeros((0, 0), np.float32),
            np.zeros(0, np.bool_),
        )
        self._quality = quality or QualityConfig()
        self._frame_s = 1.0 / frame_rate if frame_rate > 0 else 0.04
        self._kalman = KalmanBatch(self.config.motion)
        self._tracks: list[Person] = []
        self._ended: list[EndedTrack] = []
        self._moves: list[Move] = []
        self.next_id = first_id
        self._time_ns: int | None = None

    def __len__(self) -> int:
        """Living tracks of any state."""
        return len(self._tracks)

    def update(
        self,
        detections: Detections,
        *,
        time_ns: int,
        image_size: tuple[int, int],
        embed: Embed | None = None,
        image: NDArray[np.uint8] | None = None,
    ) -> Tracks:
        """Take one frame.

        Args:
            detections: People of the frame, in pixels.
            time_ns: Capture time; must grow from call to call.
            image_size: `(width, height)` in pixels.
            embed: Returns the L2-normalised embeddings `(n, D)` of the detections at the given
                ascending indices; rows of zeros or NaN mean "no embedding".
            image: `(H, W, 3)` uint8 pixels for the sharpness gate; may be left out.

        Returns:
            The tracks seen in this frame, in order of their ids.
        """
        self._advance(time_ns)
        config = self.config
        looks = LazyEmbeddings(
            crop_quality(detections, image_size, self._quality, image=image), embed
        )
        box = to_cxcywh(detections.xyxy)
        confidence = detections.confidence.astype(np.float64)
        valid = np.isfinite(box).all(axis=1) & (box[:, 2:] > 0).all(axis=1)
        high = valid & (confidence >= config.high_confidence)
        low = valid & ~high & (confidence >= config.low_confidence)
        noise = 0.5 + (1.0 - np.clip(confidence, 0, 1))
        picture = float(image_size[0]) * float(image_size[1])

        match = np.full(len(self._tracks), -1, np.intp)  # detection of each track
        settled = np.array([t.state is not TrackState.TENTATIVE for t in self._tracks], np.bool_)
        seen = np.array([t.state is not TrackState.LOST for t in self._tracks], np.bool_)
        free: NDArray[np.bool_] = np.array(valid, np.bool_)
        for rows, columns, with_looks in (
            (settled, high, True),
            (~settled, high, False),
            (seen, low, False),
        ):
            tracks = np.flatnonzero(rows & (match < 0))
            candidates = np.flatnonzero(columns & free)
            if not len(tracks) or not len(candidates):
                continue
            evidence = motion_evidence(
                self._kalman, tracks, box[candidates], noise[candidates], picture=picture
            )
            if with_looks:
                evidence += self._looks(tracks, candidates, evidence, looks)
            pairs = assign(evidence, config.min_evidence)
            match[tracks[pairs[0]]] = candidates[pairs[1]]
            free[candidates[pairs[1]]] = False
        closeness, now = self._closeness(detections, match), self._time_ns or 0
        fetch_due(self._tracks, match, looks, closeness, now, config.embed_every_s)
        for i in learn(self._tracks, match, looks, closeness, now, self.scale):
            if self._tracks[i].doubts:  # else it has just changed places with another
                self._change(i)
        return self._finish(detections, box, noise, match, free, looks, image_size)

    def ended(self) -> list[EndedTrack]:
        """Return the tracks that ended since the last call; each is returned once."""
        out, self._ended = self._ended, []
        return out

    def moves(self) -> list[Move]:
        """Return which sights given out before the last update were another person's, once."""
        out, self._moves = self._moves, []
        return out

    def translate(self, translation: Translation) -> None:
        """Go over to another model; what a similarity is worth is learned anew."""
        for track in self._tracks:
            track.translate(translation)
        self.scale = AppearanceScale()

    def flush(self) -> list[EndedTrack]:
        """End all tracks (end of the video or of the camera) and return what `ended` would."""
        for track in self._tracks:
            self._ended.append(track.ended())
        self._tracks = []
        self._kalman.keep(np.zeros(len(self._kalman), np.bool_))
        return self.ended()

    def _advance(self, time_ns: int) -> None:
        if self._time_ns is not None:
            seconds = (time_ns - self._time_ns) / 1e9
            self._kalman.predict(seconds if seconds > 0 else self._frame_s)
        self._time_ns = time_ns if self._time_ns is None else max(time_ns, self._time_ns + 1)

    def _closeness(self, detections: Detections, match: NDArray[np.intp]) -> NDArray[np.float64]:
        """Return `(N,)`: the greatest IoU of each detection with a sure one or a lost track."""
        box = np.nan_to_num(detections.xyxy.astype(np.float64), posinf=0.0, neginf=0.0)
        overlap = iou(box, box)
        np.fill_diagonal(overlap, 0.0)
        overlap[:, detections.confidence < self.config.high_confidence] = 0.0
        out: NDArray[np.float64] = overlap.max(axis=1, initial=0.0)
        lost = [
            i
            for i, track in enumerate(self._tracks)
            if match[i] < 0 and track.state is not TrackState.TENTATIVE
        ]
        if lost and len(out):
            out = np.maximum(out, iou(box, self.predicted()[lost]).max(axis=1))
        return out

    def _gaps(self, tracks: NDArray[np.intp]) -> NDArray[np.float64]:
        now = self._time_ns or 0
        return np.array([(now - self._tracks[i].last_ns) / 1e9 for i in tracks])

    def _looks(
        self,
        tracks: NDArray[np.intp],
        candidates: NDArray[np.intp],
        evidence: NDArray[np.float64],
        looks: LazyEmbeddings,
    ) -> NDArray[np.float64]:
        """Ask for embeddings where motion leaves a doubt, and return the evidence of looks."""
        config = self.config
        possible = evidence > config.min_evidence - _REACH
        stale = self._gaps(tracks) > config.motion_lost_s
        by_motion = np.where(stale[:, None], -np.inf, evidence)
        chosen = assign(by_motion, config.min_evidence)
        doubt = contested(by_motion, chosen, config.min_evidence, config.doubt)
        # A track lost for long may take what nobody else claims.
        free = np.ones(len(candidates), np.bool_)
        free[chosen[1]] = False
        doubt |= possible & stale[:, None] & free
        wanted = np.zeros(len(looks.quality), np.bool_)
        wanted[candidates[doubt.any(axis=0)]] = True
        looks.fetch(wanted)
        out = np.zeros_like(evidence)
        known = looks.known[candidates]
        similarity = np.full(evidence.shape, np.nan)
        if known.any():
            rows = looks.rows[candidates[known]]
            for i, track in enumerate(tracks.tolist()):
                if possible[i].any():
                    similarity[i, known] = self._tracks[track].memory.similarity(rows)
            out = self.scale.evidence(similarity)
        # A track lost for long comes back by its looks or not at all.
        out[np.isnan(similarity) & stale[:, None]] = -np.inf
        return out

    def _change(self, i: int) -> None:
        """Give the track at `i` the id of the person whom it shows now."""
        now = self._time_ns or 0
        before = self._tracks[i]
        after = doubt.who_is_it(before, self._tracks, self.scale)
        since = before.changed_ns
        self.counts["changed"] += 1
        if after is None:
            after = Person(self.next_id, since, before.confidence, self.config.exemplars)
            self.next_id += 1
            after.state, after.hits = TrackState.CONFIRMED, before.hits
            for row in before.doubts:
                after.memory.add(row, 1.0)
            self._ended.append(before.ended())
        else:
            k = self._tracks.index(after)
            self._tracks[k] = before
            if after.state is TrackState.CONFIRMED:  # two who took each other's place
                self._moves.append(Move(after.track_id, before.track_id, since))
            before.state, after.state = after.state, TrackState.CONFIRMED
            before.last_ns, after.last_ns = after.last_ns, before.last_ns
            before.border, after.border = after.border, before.border
            before.believe(now)
        after.believe(now)
        self._moves.append(Move(before.track_id, after.track_id, since))
        self._tracks[i] = after

    def _finish(
        self,
        detections: Detections,
        box: NDArray[np.float64],
        noise: NDArray[np.float64],
        match: NDArray[np.intp],
        free: NDArray[np.bool_],
        looks: LazyEmbeddings,
        image_size: tuple[int, int],
    ) -> Tracks:
        config = self.config
        hit = np.flatnonzero(match >= 0)
        self._kalman.update(hit, box[match[hit]], noise[match[hit]])
        now = self._time_ns or 0
        cut = at_border(detections.xyxy, image_size)
        for i in hit.tolist():
            track = self._tracks[i]
            if (now - track.last_ns) / 1e9 > config.motion_lost_s:
                self.counts["refound"] += 1
            track.hits += 1
            track.last_ns = now
            track.border = bool(cut[match[i]])
            track.confidence = float(detections.confidence[match[i]])
            track.best = max(track.best, track.confidence)
            if track.state is TrackState.LOST:
                track.state = TrackState.CONFIRMED
            elif track.state is TrackState.TENTATIVE and self._is_confirmed(track):
                track.state = TrackState.CONFIRMED
                self.counts["confirmed"] += 1
        match = np.concatenate([match, self._births(detections, box, noise, match, free, looks)])
        out = self._emit(detections, match)
        self._retire(match, image_size)
        self.details = looks.details()
        self.counts["embedded"] += len(self.details.embedded)
        return out

    def _is_confirmed(self, track: Person) -> bool:
        lived = (track.last_ns - track.first_ns) / 1e9
        return (
            track.hits >= self.config.confirm_hits
            and lived >= self.config.confirm_s
            and track.best >= self.config.birth_confidence
        )

    def _births(
        self,
        detections: Detections,
        box: NDArray[np.float64],
        noise: NDArray[np.float64],
        match: NDArray[np.intp],
        free: NDArray[np.bool_],
        looks: LazyEmbeddings,
    ) -> NDArray[np.intp]:
        """Start tracks from sure detections that nobody claimed and that double nobody."""
        config = self.config
        new = np.flatnonzero(free & (detections.confidence >= config.candidate_confidence))
        new = new[np.argsort(-detections.confidence[new], kind="stable")]
        taken = match[match >= 0].tolist()
        born: list[int] = []
        overlap = iou(detections.xyxy, detections.xyxy) if len(new) else np.zeros((0, 0))
        for k in new.tolist():
            if (overlap[k, taken] > config.duplicate_iou).any():
                continue
            born.append(k)
            taken.append(k)
        index = np.array(born, np.intp)
        now = self._time_ns or 0
        self._kalman.add(box[index], noise[index])
        wanted = np.zeros(len(detections), np.bool_)
        wanted[index] = detections.confidence[index] >= config.birth_confidence
        looks.fetch(wanted)
        for k in born:
            track = Person(self.next_id, now, float(detections.confidence[k]), config.exemplars)
            self.next_id += 1
            if looks.known[k]:
                track.remember(looks.rows[k], float(looks.quality[k]), now)
            if self._is_confirmed(track):
                track.state = TrackState.CONFIRMED
                self.counts["confirmed"] += 1
            self._tracks.append(track)
        self.counts["births"] += len(born)
        return index

    def _emit(self, detections: Detections, match: NDArray[np.intp]) -> Tracks:
        shown = [
            i
            for i, track in enumerate(self._tracks)
            if match[i] >= 0 and (self.config.emit_tentative or track.state is TrackState.CONFIRMED)
        ]
        shown.sort(key=lambda i: self._tracks[i].track_id)
        index = match[shown].astype(np.int64) if shown else np.zeros(0, np.int64)
        return Tracks(
            np.array([self._tracks[i].track_id for i in shown], np.int64),
            detections.xyxy[index].astype(np.float32),
            detections.confidence[index].astype(np.float32),
            index,
        )

    def _retire(self, match: NDArray[np.intp], image_size: tuple[int, int]) -> None:
        """Mark missed tracks as lost, remove those that left or are lost too long, keep the cap.

        A track is a continuous presence: who walks out of the picture ends it, and whether the
        person who comes in later is the same one is for association to say, over all cameras.
        """
        config = self.config
        outside = share_inside(self.predicted(), image_size) < config.min_inside
        now = self._time_ns or 0
        keep = np.ones(len(self._tracks), np.bool_)
        for i, track in enumerate(self._tracks):
            if match[i] >= 0:
                continue
            gap = (now - track.last_ns) / 1e9
            if track.state is TrackState.TENTATIVE:
                keep[i] = gap <= config.tentative_patience_s
            else:
                track.state = TrackState.LOST
                left = outside[i] or (track.border and gap > config.motion_lost_s)
                keep[i] = gap <= config.max_lost_s and not left
        living = np.flatnonzero(keep)
        if len(living) > config.max_tracks:
            oldest = sorted(living.tolist(), key=lambda i: self._tracks[i].last_ns)
            evicted = oldest[: len(living) - config.max_tracks]
            keep[evicted] = False
            self.counts["evicted"] += len(evicted)
        if keep.all():
            return
        for i in np.flatnonzero(~keep).tolist():
            self._ended.append(self._tracks[i].ended())
        self._tracks = [t for t, kept in zip(self._tracks, keep.tolist(), strict=True) if kept]
        self._kalman.keep(keep)

    def predicted(self) -> NDArray[np.float64]:
        """Return the `(T, 4)` boxes x1, y1, x2, y2 where all living tracks are believed to be."""
        return to_xyxy(self._kalman.mean)
