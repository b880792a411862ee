"""A calibration as a page for people: two pictures and what they mean, in one file."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

import numpy as np

from crosscam_edge.associate.calibrate import BINS
from crosscam_edge.calibration.measure import rates

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from crosscam_edge.calibration.file import SiteCalibration

_WIDTH, _HEIGHT = 640, 300
_LEFT, _RIGHT, _TOP, _BOTTOM = 56, 12, 14, 44
_EDGES = np.linspace(-1.0, 1.0, BINS + 1)
_STYLE = """
:root { color-scheme: light dark; --ink: #1c2430; --pale: #66707f; --line: #d5dae1; --page: #fff;
  --two: #c2410c; --one: #0f766e; --at: #1d4ed8; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e9ee; --pale: #98a2b3; --line: #374151;
  --page: #11161d; --two: #fb923c; --one: #2dd4bf; --at: #93c5fd; } }
body { font: 16px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--page);
  max-width: 44rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.1rem; margin-top: 2rem; }
table { border-collapse: collapse; width: 100%; } svg { width: 100%; height: auto; }
td, th { text-align: left; padding: .25rem .75rem .25rem 0; border-bottom: 1px solid var(--line);
  vertical-align: top; }
td + td, th + th { text-align: right; } p, li { max-width: 40rem; } code { word-break: break-all; }
svg text { font-size: 12px; fill: var(--pale); }
.axis { stroke: var(--line); } .two { fill: var(--two); } .one { fill: var(--one); }
.bar { opacity: .55; } .curve { fill: none; stroke-width: 2; } .curve.two { stroke: var(--two);
  fill: none; } .curve.one { stroke: var(--one); fill: none; }
.at { stroke: var(--at); stroke-width: 2; stroke-dasharray: 5 4; } .dot { fill: var(--at); }
svg text.two { fill: var(--two); } svg text.one { fill: var(--one); } svg text.at { fill: var(--at);
  stroke: none; }
"""


def page(calibration: SiteCalibration) -> str:
    """Return the page as HTML; it loads nothing from anywhere."""
    c, point = calibration, calibration.operating_point
    cameras = "".join(
        f"<tr><td>{escape(name)}</td><td>{each.people}</td><td>{each.tracklets}</td></tr>"
        for name, each in sorted(c.cameras.items())
    )
    chosen = (
        "where the association finds it"
        if point.chosen == "learned"
        else "raised to the false match rate that was asked for"
    )
    pairs = (sum(c.impostor), sum(c.genuine))
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Calibration of {escape(c.run)}</title><style>{_STYLE}</style></head><body>
<h1>Calibration of {escape(c.run)}</h1>
<p>Made {c.created:%Y-%m-%d %H:%M} UTC by crosscam {escape(c.crosscam_version)} with model
<code>{escape(c.model_id[:16])}</code>. It is good for this very model at this site.</p>
<table>
<tr><th>Threshold across cameras, {chosen}</th><th>{point.threshold:.3f}</th></tr>
<tr><td>False matches among certain impostors</td><td>{_percent(point.fmr, pairs[0])}</td></tr>
<tr><td>False non-matches among certain genuines</td><td>{_percent(point.fnmr, pairs[1])}</td></tr>
<tr><td>False matches of two cameras, by the fitted curves</td><td>{point.fmr_across:.1%}</td></tr>
<tr><td>False non-matches of two cameras, by the fitted curves</td>
<td>{point.fnmr_across:.1%}</td></tr>
</table>
<h2>How alike pairs are</h2>
{_histogram(c)}
<p>Bars are counted, each kind to its own height: <b>impostors</b>, {pairs[0]} pairs of tracks seen
at once in one camera, so surely two people; <b>genuines</b>, {pairs[1]} tracks whose two ends are
compared, so surely one. Curves are what the association made of all pairs of two different cameras,
who are less alike than the two ends of a track.</p>
<h2>What a threshold costs</h2>
{_curve(c)}
<p>Each point of the line is a threshold: how many certain impostors would pass, and how many
certain genuines would not. These are single pairs. People are joined by the mean over all pairs of
their tracks, with time, place and overlaps beside looks, so wrong ids are far rarer.</p>
<h2>Cameras</h2>
<table><tr><th>Camera</th><th>People</th><th>Tracks</th></tr>{cameras}</table>
<p>Use it: <code>crosscam process --calibration calibration.json …</code>, or
<code>crosscam run</code> alike, or <code>calibration:</code> in the site file.</p>
</body></html>
"""


def _percent(share: float, count: int) -> str:
    return f"{share:.1%} of {count}"


def _x(value: float, low: float, high: float) -> float:
    return _LEFT + (value - low) / (high - low) * (_WIDTH - _LEFT - _RIGHT)


def _y(share: float) -> float:
    return _HEIGHT - _BOTTOM - share * (_HEIGHT - _TOP - _BOTTOM)


def _histogram(c: SiteCalibration) -> str:
    """Draw both kinds of pairs, each to its own height, with the fitted curves."""
    seen = np.flatnonzero(np.array(c.genuine) + np.array(c.impostor))
    spread = (c.across.impostor[0] - 3 * c.across.impostor[1],
              c.across.genuine[0] + 3 * c.across.genuine[1])  # fmt: skip
    low = max(-1.0, min(float(_EDGES[seen[0]]), spread[0]))
    high = min(1.0, max(float(_EDGES[seen[-1] + 1]), spread[1]))
    parts = [_axes("similarity", "share of the pairs of a kind", low, high)]
    for kind, counts, fitted in (
        ("two", c.impostor, c.across.impostor),
        ("one", c.genuine, c.across.genuine),
    ):
        tallest = max(counts)
        for k in np.flatnonzero(counts).tolist():
            left, right = _x(float(_EDGES[k]), low, high), _x(float(_EDGES[k + 1]), low, high)
            top = _y(0.95 * counts[k] / tallest)
            parts.append(
                f'<rect class="bar {kind}" x="{left:.1f}" y="{top:.1f}" '
                f'width="{right - left - 0.5:.1f}" height="{_y(0) - top:.1f}"/>'
            )
        grid = np.linspace(low, high, 160)
        bell = 0.95 * np.exp(-0.5 * ((grid - fitted[0]) / fitted[1]) ** 2)
        parts.append(_line(grid, bell, lambda v: _x(v, low, high), kind))
    at = _x(c.operating_point.threshold, low, high)
    parts.append(f'<line class="at" x1="{at:.1f}" y1="{_TOP}" x2="{at:.1f}" y2="{_y(0):.1f}"/>')
    parts.append(f'<text class="at" x="{at + 5:.1f}" y="{_TOP + 10}">threshold</text>')
    for kind, word, fitted in (
        ("two", "two people", c.across.impostor),
        ("one", "one person", c.across.genuine),
    ):
        parts.append(
            f'<text class="{kind}" text-anchor="middle" x="{_x(fitted[0], low, high):.1f}" '
            f'y="{_TOP - 2}">{word}</text>'
        )
    return _svg("Histogram of similarities of certain impostors and genuines", parts)


def _curve(c: SiteCalibration) -> str:
    """Draw false non-matches over false matches, the latter by powers of ten."""
    match, missed = rates(np.array(c.genuine), np.array(c.impostor))
    least = 0.5 / sum(c.impostor)  # none at all has no logarithm
    low, high = float(np.log10(least)), 0.0
    decades = range(int(np.ceil(low)), 1)
    ticks = [(float(d), f"{10.0**d * 100:g} %") for d in decades]
    parts = [_axes("false matches", "false non-matches", low, high, ticks, percent=True)]
    shown = np.log10(np.maximum(match, least))
    parts.append(_line(shown, missed, lambda v: _x(v, low, high), "one"))
    point = c.operating_point
    x, y = _x(float(np.log10(max(point.fmr, least))), low, high), _y(point.fnmr)
    parts.append(f'<circle class="dot" cx="{x:.1f}" cy="{y:.1f}" r="6"/>')
    anchor, aside = ("start", 10) if x < _WIDTH / 2 else ("end", -10)
    parts.append(
        f'<text class="at" text-anchor="{anchor}" x="{x + aside:.1f}" y="{y - 10:.1f}">here</text>'
    )
    return _svg("False non-match rate over false match rate", parts)


def _axes(
    below: str,
    beside: str,
    low: float,
    high: float,
    ticks: list[tuple[float, str]] | None = None,
    *,
    percent: bool = False,
) -> str:
    if ticks is None:
        step = 0.2 if high - low > 0.8 else 0.1
        values = np.arange(np.ceil(low / step), np.floor(high / step) + 1) * step
        ticks = [(float(v), f"{v:.1f}".replace("-0.0", "0.0")) for v in values]
    out = []
    for share in (0.0, 0.25, 0.5, 0.75, 1.0):
        y = _y(share)
        out.append(
            f'<line class="axis" x1="{_LEFT}" y1="{y:.1f}" x2="{_WIDTH - _RIGHT}" y2="{y:.1f}"/>'
        )
        if percent:
            out.append(
                f'<text text-anchor="end" x="{_LEFT - 6}" y="{y + 4:.1f}">{share:.0%}</text>'
            )
    for value, text in ticks:
        x = _x(value, low, high)
        anchor = "end" if x > _WIDTH - _RIGHT - 20 else "middle"  # not beyond the picture
        out.append(
            f'<text text-anchor="{anchor}" x="{x:.1f}" y="{_HEIGHT - _BOTTOM + 16}">{text}</text>'
        )
    middle = (_HEIGHT - _BOTTOM + _TOP) / 2
    out.append(f'<text text-anchor="middle" x="{_WIDTH / 2}" y="{_HEIGHT - 6}">{below}</text>')
    out.append(
        f'<text text-anchor="middle" transform="translate(12 {middle}) rotate(-90)">{beside}</text>'
    )
    return "".join(out)


def _line(
    x: NDArray[np.floating], y: NDArray[np.floating], place: Callable[[float], float], kind: str
) -> str:
    points = " ".join(
        f"{place(a):.1f},{_y(b):.1f}" for a, b in zip(x.tolist(), y.tolist(), strict=True)
    )
    return f'<polyline class="curve {kind}" points="{points}"/>'


def _svg(title: str, parts: list[str]) -> str:
    return (
        f'<svg role="img" viewBox="0 0 {_WIDTH} {_HEIGHT}"><title>{title}</title>'
        + "".join(parts)
        + "</svg>"
    )
