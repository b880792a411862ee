"""Structured logging: quiet by default, secrets redacted, on standard error.

structlog is loaded with the first event that is shown: it takes as long to import as all of the
command line, and most runs have nothing to say.
"""

from __future__ import annotations

import logging
import sys
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from crosscam_deploy.redact import redact

if TYPE_CHECKING:
    from collections.abc import MutableMapping


@dataclass(slots=True)
class _Settings:
    level: int = logging.WARNING
    as_json: bool = False


_settings = _Settings()


def _redact_event(
    _logger: Any, _method: str, event: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    for key, value in event.items():
        if isinstance(value, str):
            event[key] = redact(value)
        elif isinstance(value, BaseException):
            event[key] = redact(str(value))
    return event


def configure(level: int = logging.WARNING, *, as_json: bool = False) -> None:
    """Set up logging for the process.

    Args:
        level: Lowest level of `logging` that is printed.
        as_json: Print one JSON object a line instead of text for people.
    """
    _settings.level, _settings.as_json = level, as_json
    if "structlog" in sys.modules:
        _apply()


class Logger:
    """Tells what happens in one component.

    Each method takes what happened in a few words, and fields with the particulars.

    Args:
        component: Field of every event.
    """

    def __init__(self, component: str) -> None:
        self._component = component

    def info(self, event: str, **fields: Any) -> None:
        """Tell those who want to see progress (``-v``)."""
        self._tell(logging.INFO, event, fields)

    def warning(self, event: str, **fields: Any) -> None:
        """Tell everyone."""
        self._tell(logging.WARNING, event, fields)

    def _tell(self, level: int, event: str, fields: dict[str, Any]) -> None:
        if level < _settings.level:
            return
        import structlog

        if not structlog.is_configured():  # else by `configure`, or by a program that embeds us
            _apply()
        told = _redact_event(None, "", {"event": event, **fields})  # in any set-up
        # Standard error may be a file on a full disk: nobody's work ends because of that.
        with suppress(OSError):
            structlog.get_logger(component=self._component).log(level, **told)


def get_logger(name: str) -> Logger:
    """Return a logger that adds `name` as its ``component``."""
    return Logger(name)


def _apply() -> None:
    """Set structlog up as `configure` was told."""
    import structlog

    renderer: Any = (
        structlog.processors.JSONRenderer()
        if _settings.as_json
        else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            _redact_event,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(_settings.level),
        # looked up at each call: a program that embeds crosscam may replace or close its stderr
        logger_factory=lambda *_: structlog.PrintLogger(sys.stderr),
        cache_logger_on_first_use=False,
    )
