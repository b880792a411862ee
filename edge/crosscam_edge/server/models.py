"""What answers hold. Times are UTC in nanoseconds since 1970."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from crosscam_edge.config.strict import CAMERA_ID


class Health(BaseModel):
    """Whether the interface answers."""

    status: Literal["up"] = Field(default="up", description="always 'up': else nobody answers")


class Me(BaseModel):
    """Who asks."""

    name: str = Field(description="of the token; `local` without tokens")
    role: str = Field(description="viewer, operator or admin")
    cameras: list[str] | None = Field(description="all that they may know of; null for all")
    words: bool = Field(description="whether the run's model knows words, so that they find people")


class Settings(BaseModel):
    """The configuration as it runs."""

    settings: dict[str, Any] = Field(
        description="as in the site file, with what was left out; secrets are ***"
    )


class Stream(BaseModel):
    """What the present connection of a camera went through."""

    codec: str = Field(description="name of the codec; empty before the first picture")
    corrupt: int = Field(description="pictures that were damaged on the way, left out")
    errors: int = Field(description="packets that could not be decoded")
    skipped: int = Field(description="packets before the first key picture")
    decoder: str = Field(description="cpu, or the device that decodes")


class Clock(BaseModel):
    """How the times of a camera come about."""

    source: str = Field(description="where the last time came from: rtcp, stream or arrival")
    skew_s: float | None = Field(
        description="how far the camera's own clock is from ours, seconds; null if it sends none"
    )
    jumps: int = Field(description="times that presentation times began anew")
    repaired: int = Field(description="pictures whose time did not grow")


class Camera(BaseModel):
    """How a camera is."""

    id: str = Field(description="its name")
    state: str = Field(description="connecting, running, stalled, backing_off, failed or stopped")
    fault: str | None = Field(description="what went wrong last; null since pictures came")
    detail: str = Field(description="in the words of whoever noticed")
    fix: str = Field(description="what can be done about it")
    since_ns: int = Field(description="in this state since")
    address: str | None = Field(
        description="where it is, without secrets; null for viewers, who need not know"
    )
    failures: int = Field(description="attempts to connect in a row that failed")
    connections: int = Field(description="times that it was connected")
    received: int = Field(description="pictures that came")
    dropped: int = Field(description="pictures that a newer one replaced before they were taken")
    looked_at: int = Field(description="pictures in which people were looked for")
    broken: int = Field(description="pictures that could not be looked at")
    frame_rate: float = Field(description="pictures a second that come, of late")
    last_ns: int | None = Field(
        description="when the last picture was taken; null before the first"
    )
    size: tuple[int, int] | None = Field(description="width and height of the last picture, pixels")
    size_changes: int = Field(description="times that the size changed")
    look_rate: float = Field(description="pictures a second that are looked at, if so many come")
    pace: str = Field(
        description="full; lowered where there is not time enough; too_low below twice a second"
    )
    stream: Stream = Field(description="the present connection")
    clock: Clock = Field(description="its times")


class Cameras(BaseModel):
    """The cameras that the caller may know of."""

    cameras: list[Camera] = Field(description="in the order of the site file")


class Identity(BaseModel):
    """A person, as far as the cameras that the caller may know of have seen them."""

    global_id: int = Field(description="the id; never used again")
    first_ns: int = Field(description="first seen")
    last_ns: int = Field(description="last seen")
    tracklets: int = Field(description="how often they came into a picture")
    cameras: list[str] = Field(description="where they were seen")
    state: Literal["known", "forgotten"] = Field(
        description="whether the run would know them again, or only keeps where they were"
    )
    picture: str | None = Field(description="name of their best picture; null without one")


class Identities(BaseModel):
    """A page of identities."""

    identities: list[Identity] = Field(description="those that began last first")
    next: int | None = Field(description="`cursor` of the next page; null when this is the last")


class Sight(BaseModel):
    """A stay in the picture of one camera."""

    camera: str = Field(description="where")
    track: int = Field(description="number of the track in that camera")
    start_ns: int = Field(description="from when")
    end_ns: int = Field(description="to when, so far")
    observations: int = Field(description="pictures in which they were found")


class Event(BaseModel):
    """Something that happened to an identity."""

    time_ns: int = Field(description="when it was decided")
    kind: str = Field(description="new, matched, moved, merged, split or ended")
    global_id: int = Field(description="the identity")
    other_id: int | None = Field(description="the one that was absorbed, split or left")
    camera: str | None = Field(description="of the track; null where it is about the whole person")
    track: int | None = Field(description="the track")
    odds: float | None = Field(description="log-odds, in nats, that the track is of this person")
    runner_up: float | None = Field(description="the same of the next best")
    runner_up_id: int | None = Field(description="who that is")
    cause: str | None = Field(description="'by hand', or null where the run found it by itself")


class IdentityPage(Identity):
    """A person, where they were, and what happened to their id."""

    asked_for: int = Field(description="the id that was asked for")
    merged: bool = Field(
        description="whether that one was merged into `global_id`, which is the same person"
    )
    names: list[int] = Field(
        description="ids that were merged into this one; empty for tokens of some cameras"
    )
    journey: list[Sight] = Field(description="where they were, in order")
    events: list[Event] = Field(
        description="the latest 1000 that happened, in order; tokens of some cameras get those of "
        "their cameras, without other ids"
    )


class Picture(BaseModel):
    """What is said of a picture of a person."""

    name: str = Field(description="GET /pictures/{name} returns it")
    camera: str = Field(description="where it was taken")
    ns: int = Field(description="when it was taken")
    quality: float = Field(description="in (0, 1]: size, visibility and confidence")
    width: int = Field(description="pixels")
    height: int = Field(description="pixels")


class Pictures(BaseModel):
    """Pictures of a person."""

    pictures: list[Picture] = Field(description="of the cameras that the caller may know of")


class Match(BaseModel):
    """Somebody who looks alike."""

    global_id: int = Field(description="who")
    similarity: float = Field(description="cosine of the looks, in [-1, 1]")
    cameras: list[str] = Field(description="where they were seen")
    last_ns: int = Field(description="last seen")
    picture: str | None = Field(description="name of their best picture; null without one")


class Matches(BaseModel):
    """People who look alike."""

    matches: list[Match] = Field(description="most alike first")


class Words(BaseModel):
    """What somebody looks like."""

    model_config = ConfigDict(extra="forbid")

    text: str = Field(
        min_length=1, max_length=500, description="such as: a person in a red coat with a black bag"
    )


class Chosen(BaseModel):
    """Who was looked for."""

    box: tuple[float, float, float, float] = Field(
        description="x1, y1, x2, y2 in pixels of the picture that was sent; all of it for a crop"
    )
    people: int = Field(description="how many were found; of several the largest was chosen")
    confidence: float | None = Field(
        description="of the detector, in [0, 1]; null where nobody was looked for"
    )


class PictureMatches(Matches):
    """People who look like somebody in a picture."""

    person: Chosen = Field(description="who was looked for")


class StoredPicture(Picture):
    """A picture as it is kept."""

    track: int = Field(description="number of the track in that camera")
    jpeg: str = Field(description="base64 of the file")


class StoredTracklet(Sight):
    """All that is kept of a stay, looks included."""

    start_frame: int = Field(description="number of the first picture")
    end_frame: int = Field(description="number of the last picture")
    sure_first_ns: int | None = Field(description="surely there from")
    sure_last_ns: int | None = Field(description="surely there to")
    width: int = Field(description="of the picture, pixels")
    height: int = Field(description="of the picture, pixels")
    model_id: str = Field(description="the model that made the embeddings")
    boxes: str = Field(
        description="entry and exit box, entry and exit velocity: base64 of 12 float32, "
        "little-endian"
    )
    embeddings: str | None = Field(
        description="base64 of float32, little-endian, a row for each time; null once let go"
    )
    times: str | None = Field(description="base64 of int64, little-endian: of the embeddings")
    qualities: str | None = Field(description="base64 of float32, little-endian: of the crops")


class Export(BaseModel):
    """All that the gallery keeps of a person."""

    identity: IdentityPage = Field(description="as GET /identities/{id} tells it")
    tracklets: list[StoredTracklet] = Field(description="as they are stored")
    pictures: list[StoredPicture] = Field(description="as they are stored")


class Into(BaseModel):
    """Whom somebody is to be merged into."""

    model_config = ConfigDict(extra="forbid")

    into: int = Field(ge=1, le=(1 << 63) - 1, description="the id that stays")


class Track(BaseModel):
    """A tracklet."""

    model_config = ConfigDict(extra="forbid")

    camera: str = Field(pattern=CAMERA_ID, description="where")
    track: int = Field(ge=1, le=(1 << 63) - 1, description="number of the track in that camera")


class Tracks(BaseModel):
    """Which tracklets are somebody else's."""

    model_config = ConfigDict(extra="forbid")

    tracklets: list[Track] = Field(min_length=1, max_length=200, description="of one person")


class Changed(BaseModel):
    """Who somebody is now."""

    global_id: int = Field(description="the id that stays, or the new one")


class Place(BaseModel):
    """Where a camera is on the map."""

    id: str = Field(description="name of the camera")
    x: float | None = Field(description="from the left, in [0, 1]; null where nobody put it")
    y: float | None = Field(description="from above, in [0, 1]; null where nobody put it")


class Link(BaseModel):
    """A way from one camera to another."""

    model_config = ConfigDict(populate_by_name=True)

    start: str = Field(alias="from", description="where people left")
    end: str = Field(alias="to", description="where they were seen next")
    count: int = Field(description="times that somebody went; 0 for a given way")
    p05_s: float = Field(description="seconds that 95 % of them needed at least")
    median_s: float = Field(description="seconds that half of them needed at most")
    p95_s: float = Field(description="seconds that 95 % of them needed at most")
    given: bool = Field(description="whether somebody gave it, or the run has learned it")


class Topology(BaseModel):
    """Cameras and the ways between them, as far as the caller may know of them."""

    cameras: list[Place] = Field(description="in the order of the site file")
    links: list[Link] = Field(description="learned and given ones; a way may be there as both")


class Erased(BaseModel):
    """What was erased."""

    global_id: int = Field(description="the identity")
    tracklets: int = Field(description="tracklets that were overwritten in the gallery")
    forgotten: bool = Field(
        description="whether the running association knew the person; now it does not"
    )


def base64_of(data: bytes | None) -> Any:
    """Return bytes as text."""
    from base64 import b64encode

    return None if data is None else b64encode(data).decode("ascii")
