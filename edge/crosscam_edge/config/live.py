"""The keys of a site file about live runs: who is told what happens."""

from __future__ import annotations

import re
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, SecretStr, model_validator

from crosscam_edge.config.strict import CAMERA_ID, Strict

Kind = Literal["identity", "camera", "model", "tracks"]
_HOST = re.compile(r"[A-Za-z0-9._:-]{1,253}")
_LEVELS = re.compile(r"[A-Za-z0-9_-]+(/[A-Za-z0-9_-]+)*")


def _host(text: str) -> str:
    if not _HOST.fullmatch(text):
        raise ValueError("this is no name or address of a machine")
    return text


def _levels(text: str) -> str:
    if not _LEVELS.fullmatch(text):
        raise ValueError("a prefix is letters, digits, '_' and '-', its levels parted by '/'")
    return text


def _each_once(kinds: list[str]) -> list[str]:
    if len(set(kinds)) != len(kinds):
        raise ValueError("a kind is given twice")
    return kinds


Kinds = Annotated[list[Kind], Field(min_length=1), AfterValidator(_each_once)]
ClipKind = Literal["new", "matched", "moved"]
ClipKinds = Annotated[list[ClipKind], Field(min_length=1), AfterValidator(_each_once)]
_KINDS = (
    "records that are sent: identity, camera, model (the end of a swap), tracks (the boxes of "
    "every picture)"
)
_CA = "certificates that are believed, a file (PEM) beside this one; the usual ones if left out"
_NAMED = "`${NAME}` or `${file:PATH}`"


class MqttConfig(Strict):
    """A broker that live runs publish to."""

    host: Annotated[str, AfterValidator(_host)] = Field(description="name or address of the broker")
    port: int | None = Field(
        default=None, ge=1, le=65535, description="1883, with TLS 8883, if left out"
    )
    username: str | None = Field(
        default=None, min_length=1, max_length=4096, description=f"text or {_NAMED}"
    )
    password: SecretStr | None = Field(default=None, description=f"{_NAMED}, never shown")
    tls: bool = Field(default=False, description="encrypt, and check the broker's certificate")
    ca: str | None = Field(default=None, min_length=1, description=_CA)
    prefix: Annotated[str, AfterValidator(_levels)] = Field(
        default="crosscam", max_length=128, description="first levels of all topics"
    )
    kinds: Kinds = Field(default=["identity", "camera", "model"], description=_KINDS)

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.ca is not None and not self.tls:
            raise ValueError("'ca' is given, but not 'tls: true'")
        if self.password is not None and self.username is None:
            raise ValueError("'password' is given, but no 'username'")
        return self


class WebhookConfig(Strict):
    """A web hook that live runs post to."""

    url: SecretStr = Field(
        description=f"http:// or https://; all of it or a part may be {_NAMED}; only the host is "
        "ever shown"
    )
    secret: SecretStr = Field(
        description=f"for signatures, at least 16 characters; {_NAMED}, never shown"
    )
    ca: str | None = Field(default=None, min_length=1, description=_CA)
    kinds: Kinds = Field(default=["identity", "camera", "model"], description=_KINDS)


class ClipsConfig(Strict):
    """Clips of what cameras sent around an event."""

    events: ClipKinds = Field(default=["new", "matched"], description="which: new, matched, moved")
    before_seconds: float = Field(default=5.0, ge=0, le=60, description="before the event")
    after_seconds: float = Field(default=5.0, ge=0, le=60, description="after it")
    memory_mb: int = Field(
        default=32, ge=1, le=4096, description="most MiB of a camera that are held in memory"
    )
    most: int = Field(default=1000, ge=1, le=100_000, description="most clips that are kept")
    most_mb: int = Field(default=4096, ge=1, description="most MiB of clips that are kept")
    days: float = Field(default=7.0, gt=0, le=36_500, description="days that a clip is kept")


class ParquetConfig(Strict):
    """Files of columns beside `events.jsonl`."""

    kinds: Kinds = Field(default=["identity", "camera", "model"], description=_KINDS)
    minutes: float = Field(
        default=15.0, gt=0, le=1440, description="minutes after which a file is written"
    )
    most_mb: int = Field(default=10_240, ge=1, description="most MiB of files that are kept")
    days: float = Field(default=30.0, gt=0, le=36_500, description="days that a file is kept")


class AuditConfig(Strict):
    """How long it is kept who has asked for what; the oldest goes first."""

    days: float = Field(default=365.0, gt=0, le=36_500, description="days that it is kept")
    rows: int = Field(default=1_000_000, ge=1, description="most requests that are kept")


class LiveConfig(Strict):
    """How a live run goes about it, who is told what happens, and what is kept of it."""

    name: str = Field(
        default="site", pattern=CAMERA_ID, description="name of the site in topics and batches"
    )
    batch: int | None = Field(
        default=None,
        ge=1,
        le=64,
        description="most pictures of several cameras in one call of a network; if left out 8 "
        "where the network runs on a GPU, else 1",
    )
    pictures: bool = Field(
        default=True,
        description="keep the best pictures of each person in the gallery, as long as their looks",
    )
    harvest: bool = Field(
        default=False,
        description="those who are seen have agreed, or the law allows, that `crosscam harvest` "
        "takes their pictures for training; from when a run begins with it, not before",
    )
    mqtt: MqttConfig | None = Field(default=None, description="a broker")
    webhooks: list[WebhookConfig] = Field(
        default_factory=list, max_length=20, description="web hooks"
    )
    clips: ClipsConfig | None = Field(default=None, description="clips around what happens")
    parquet: ParquetConfig | None = Field(default=None, description="records as Parquet")
    audit: AuditConfig = Field(
        default_factory=AuditConfig, description="who has asked the interface for what"
    )

    @model_validator(mode="after")
    def _has_pictures(self) -> Self:
        if self.harvest and not self.pictures:
            raise ValueError("'harvest: true' is given, but 'pictures: false' keeps none")
        return self
