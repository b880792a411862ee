"""Boxes, ids and trails on pictures."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

import cv2
import numpy as np

from crosscam_edge.report.colours import RGB, identity_rgb, readable_on

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from crosscam_edge.report.rows import FrameRows

    Image = NDArray[np.uint8]

_TRAIL_SECONDS = 1.6
_FORGET_SECONDS = 1.0


class Text:
    """Draws text in any script where OpenCV brings its own font (5.0), else in plain ASCII."""

    def __init__(self) -> None:
        self._face = cv2.FontFace("sans") if hasattr(cv2, "FontFace") else None

    def size(self, text: str, height: int) -> tuple[int, int]:
        """Return width and height in pixels of a text of a font size."""
        if self._face is not None:
            box = cv2.getTextSize((10_000, 10_000), text, (0, 0), self._face, height, 500)
            return int(box[2]), height
        (width, _), _ = cv2.getTextSize(_ascii(text), cv2.FONT_HERSHEY_SIMPLEX, height / 28, 1)
        return int(width), height

    def put(self, image: Image, text: str, at: tuple[int, int], height: int, rgb: RGB) -> None:
        """Draw a text whose base line begins at a point."""
        bgr = rgb[::-1]
        if self._face is not None:
            cv2.putText(image, text, at, bgr, self._face, height, 500)
        else:
            font = cv2.FONT_HERSHEY_SIMPLEX
            cv2.putText(image, _ascii(text), at, font, height / 28, bgr, 1, cv2.LINE_AA)


class Overlay:
    """Draws the people of one camera, remembering their trails.

    Args:
        size: `(width, height)` of the pictures that are drawn on.
    """

    def __init__(self, size: tuple[int, int]) -> None:
        self._text = Text()
        unit = min(size) / 540
        self._line = max(1, round(2.6 * unit))
        self._font = int(np.clip(round(19 * unit), 11, 34))
        self._trails: dict[int, deque[tuple[float, int, int]]] = {}

    def draw(
        self, image: Image, rows: FrameRows, seconds: float, scale: tuple[float, float]
    ) -> None:
        """Draw boxes, ids and trails in place.

        Args:
            image: `(H, W, 3)` uint8 BGR.
            rows: The people.
            seconds: Time of the picture.
            scale: Factors from pixels of the boxes to pixels of the picture, across and down.
        """
        boxes = np.rint(rows.xyxy * np.array([*scale, *scale], np.float32)).astype(int)
        for global_id, box in zip(rows.global_id.tolist(), boxes, strict=True):
            trail = self._trails.setdefault(global_id, deque(maxlen=256))
            trail.append((seconds, int(box[0] + box[2]) // 2, int(box[3])))
        self._draw_trails(image, seconds)
        labels = []
        for i, global_id in enumerate(rows.global_id.tolist()):
            rgb = identity_rgb(global_id)
            x1, y1, x2, y2 = boxes[i].tolist()
            if rows.interpolated[i]:
                _dashed(image, (x1, y1, x2, y2), rgb[::-1], self._line)
            else:
                cv2.rectangle(image, (x1, y1), (x2, y2), rgb[::-1], self._line, cv2.LINE_AA)
            labels.append((str(global_id), x1, y1, rgb))
        for label in labels:  # after all boxes, so none is crossed out
            self._pill(image, *label)

    def header(self, image: Image, left: str, right: str) -> None:
        """Draw a dark strip on top with the camera at the left and the time at the right."""
        height = round(self._font * 1.9)
        strip = image[:height]
        np.multiply(strip, 0.35, out=strip, casting="unsafe")
        base = round(height / 2 + self._font * 0.37)
        gap = self._font // 2
        width, _ = self._text.size(right, self._font)
        room = image.shape[1] - width - 4 * gap
        self._text.put(image, self._fit(left, room), (gap, base), self._font, (255, 255, 255))
        at = (image.shape[1] - width - gap, base)
        self._text.put(image, right, at, self._font, (222, 222, 222))

    def message(self, image: Image, text: str) -> None:
        """Draw a text in the middle of the picture."""
        width, height = self._text.size(text, self._font)
        at = ((image.shape[1] - width) // 2, (image.shape[0] + height) // 2)
        self._text.put(image, text, at, self._font, (170, 176, 186))

    def _fit(self, text: str, room: int) -> str:
        if self._text.size(text, self._font)[0] <= room:
            return text
        while text and self._text.size(text + "…", self._font)[0] > room:
            text = text[:-1]
        return text + "…"

    def _pill(self, image: Image, text: str, x: int, y: int, rgb: RGB) -> None:
        width, _ = self._text.size(text, self._font)
        height = round(self._font * 1.45)
        pad = round(height * 0.36)
        y = y - height - 1 if y - height - 1 >= round(self._font * 1.9) else y + 1
        x = int(np.clip(x, 0, max(0, image.shape[1] - width - 2 * pad)))
        radius = height // 2
        right = x + max(width + 2 * pad, height)
        colour, filled = rgb[::-1], cv2.FILLED
        cv2.rectangle(image, (x + radius, y), (right - radius, y + height), colour, filled)
        for centre in (x + radius, right - radius):
            cv2.circle(image, (centre, y + radius), radius, colour, filled, cv2.LINE_AA)
        at = ((x + right - width) // 2, y + round(height / 2 + self._font * 0.36))
        self._text.put(image, text, at, self._font, readable_on(rgb))

    def _draw_trails(self, image: Image, seconds: float) -> None:
        for global_id in list(self._trails):
            trail = self._trails[global_id]
            if seconds - trail[-1][0] > _FORGET_SECONDS:
                del self._trails[global_id]
                continue
            while seconds - trail[0][0] > _TRAIL_SECONDS:
                trail.popleft()
            points = np.array([(x, y) for _, x, y in trail], np.int32).reshape(-1, 1, 2)
            if len(points) > 1:
                colour = identity_rgb(global_id)[::-1]
                cv2.polylines(image, [points], False, colour, self._line, cv2.LINE_AA)


def _dashed(
    image: Image, box: tuple[int, int, int, int], bgr: tuple[int, ...], thickness: int
) -> None:
    x1, y1, x2, y2 = box
    corners = ((x1, y1), (x2, y1), (x2, y2), (x1, y2))
    step = 4 + 3 * thickness
    for a, b in zip(corners, corners[1:] + corners[:1], strict=True):
        start, end = np.array(a, float), np.array(b, float)
        length = float(np.hypot(*(end - start)))
        for offset in np.arange(0, length, 2 * step):
            p = start + (end - start) * (offset / length)
            q = start + (end - start) * (min(offset + step, length) / length)
            ends = [(int(v[0]), int(v[1])) for v in (p, q)]
            cv2.line(image, ends[0], ends[1], bgr, thickness, cv2.LINE_AA)


def _ascii(text: str) -> str:
    return text.encode("ascii", "replace").decode()
