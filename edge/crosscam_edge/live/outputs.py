"""All that is told of a live run, opened and closed together."""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING
from urllib.parse import quote, urlsplit

from crosscam_edge.config.secrets import with_secrets
from crosscam_edge.sinks.fanout import Fanout, Output
from crosscam_edge.sinks.lines import LinesSink
from crosscam_kernels.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from pydantic import SecretStr

    from crosscam_edge.config.live import (
        ClipsConfig,
        LiveConfig,
        MqttConfig,
        ParquetConfig,
        WebhookConfig,
    )
    from crosscam_edge.live.ring import Rings
    from crosscam_edge.sinks.base import Sink

_SHORTEST_SECRET = 16
_MOST_FILES = 100_000  # of Parquet: a folder is listed each time that one is written
_PATIENCE_S = 10.0
"""What a clip is cut from stays for so much longer than the clip, for the disk may be slow."""


def open_rings(config: LiveConfig) -> Rings | None:
    """Return where cameras keep what clips are cut from; None where there are none."""
    clips = config.clips
    if clips is None:
        return None
    from crosscam_edge.live.ring import Ring, Rings

    seconds = clips.before_seconds + clips.after_seconds + _PATIENCE_S
    return Rings(lambda offset_ns: Ring(seconds, clips.memory_mb << 20, offset_ns))


def open_outputs(
    folder: Path,
    config: LiveConfig,
    *,
    tracks: bool,
    rings: Rings | None = None,
    now_ns: Callable[[], int] = time.time_ns,
) -> Fanout:
    """Open the file of events and all that the site file names.

    Nobody has to be there yet: brokers and web hooks are tried until they are.

    Args:
        folder: Gets `events.jsonl`, and the folders `clips` and `parquet`.
        config: Of the site.
        tracks: Whether the file holds boxes too.
        rings: Of `open_rings`, filled by the cameras.
        now_ns: UTC, the clock of the run.

    Raises:
        CrosscamError: The file cannot be opened, or a secret or certificate is not there.
    """
    kinds = frozenset({"identity", "camera", "model"} | ({"tracks"} if tracks else set()))
    outputs: list[Output] = []
    try:
        outputs.append(Output("events.jsonl", LinesSink(folder / "events.jsonl"), kinds))
        if config.clips is not None and rings is not None:
            clips = _clips(folder / "clips", config.clips, rings, now_ns)
            outputs.append(Output("clips", clips, frozenset({"identity"})))
        if config.parquet is not None:
            columns = _parquet(folder / "parquet", config.parquet)
            outputs.append(Output("parquet", columns, frozenset(config.parquet.kinds)))
        if config.mqtt is not None:
            sink = _mqtt(config.mqtt, config.name)
            outputs.append(Output("mqtt", sink, frozenset(config.mqtt.kinds)))
        for number, hook in enumerate(config.webhooks, 1):
            name = f"webhook {number}"
            outputs.append(Output(name, _webhook(hook, config.name, name), frozenset(hook.kinds)))
    except BaseException:
        Fanout(outputs).close()
        raise
    return Fanout(outputs)


def _clips(folder: Path, config: ClipsConfig, rings: Rings, now_ns: Callable[[], int]) -> Sink:
    from crosscam_edge.sinks.clips import ClipsSink
    from crosscam_edge.sinks.shelf import Bounds

    return ClipsSink(
        folder,
        rings.of,
        now_ns,
        kinds=config.events,
        before_s=config.before_seconds,
        after_s=config.after_seconds,
        bounds=Bounds(config.most, config.most_mb << 20, config.days * 86_400),
    )


def _parquet(folder: Path, config: ParquetConfig) -> Sink:
    from crosscam_edge.sinks.parquet import ParquetSink
    from crosscam_edge.sinks.shelf import Bounds

    bounds = Bounds(_MOST_FILES, config.most_mb << 20, config.days * 86_400)
    return ParquetSink(folder, every_s=config.minutes * 60, bounds=bounds)


def _mqtt(config: MqttConfig, site: str) -> Sink:
    from crosscam_edge.sinks.mqtt import MqttSink

    username = None
    if config.username is not None:
        username = with_secrets(config.username, "live.mqtt.username")
    return MqttSink(
        config.host,
        config.port or (8883 if config.tls else 1883),
        prefix=config.prefix,
        site=site,
        username=username,
        password=_plain(config.password, "live.mqtt.password"),
        tls=config.tls,
        ca=config.ca,
    )


def _webhook(config: WebhookConfig, site: str, name: str) -> Sink:
    from crosscam_edge.sinks.webhook import WebhookSink

    url = _url(config.url.get_secret_value(), name)
    secret = _plain(config.secret, f"secret of {name}") or ""
    if len(secret) < _SHORTEST_SECRET:
        raise UsageError(
            f"the secret of {name} has {len(secret)} characters",
            expected=f"at least {_SHORTEST_SECRET}, chosen at random",
            fix="openssl rand -hex 32",
        )
    shown = f"{name} ({urlsplit(url).hostname})"
    return WebhookSink(url, secret, name=shown, site=site, ca=config.ca)


def _plain(value: SecretStr | None, shown: str) -> str | None:
    return None if value is None else with_secrets(value.get_secret_value(), shown)


def _url(text: str, name: str) -> str:
    """Return the address of a hook; secrets that are only a part of it are escaped."""
    whole = text.startswith("${") and text.endswith("}") and text.count("${") == 1
    url = with_secrets(text, f"url of {name}", escape=str if whole else partial(quote, safe=""))
    try:
        parts = urlsplit(url)
        good = parts.scheme in ("http", "https") and bool(parts.hostname)
        good = good and (parts.port or 1) > 0 and url.isascii() and url.isprintable()
    except ValueError:
        good = False
    if not good or " " in url:
        raise UsageError(
            f"the url of {name} is not the address of a web hook",
            expected="https://HOST/PATH, in ASCII",
            fix="escape other letters (%20, %C3%A9), or write ${VARIABLE}",
        )
    return url
