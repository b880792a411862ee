/** Boxes of people in a picture: drawing them, and finding the one under a pointer. */

import type { FrameHeader, Person } from "../api/types";
import { colourOf, UNKNOWN_COLOUR } from "./colour";

/** Return who is at a place of the canvas, the smallest box first; null for nobody. */
export function personAt(
  header: FrameHeader,
  x: number,
  y: number,
  width: number,
  height: number,
): Person | null {
  const px = (x / width) * header.width;
  const py = (y / height) * header.height;
  let best: Person | null = null;
  for (const each of header.people) {
    const [x1, y1, x2, y2] = each.box;
    if (px < x1 || px > x2 || py < y1 || py > y2) continue;
    if (best === null || area(each) < area(best)) best = each;
  }
  return best;
}

function area({ box: [x1, y1, x2, y2] }: Person): number {
  return (x2 - x1) * (y2 - y1);
}

/** Draw a picture with its boxes; the canvas takes the picture's shape. */
export function draw(
  canvas: HTMLCanvasElement,
  picture: ImageBitmap,
  header: FrameHeader,
  highlighted: number | null,
): void {
  const scale = Math.min(devicePixelRatio || 1, 2);
  const width = Math.round((canvas.clientWidth || picture.width) * scale);
  const height = Math.round((width * header.height) / header.width);
  if (canvas.width !== width || canvas.height !== height) {
    canvas.width = width;
    canvas.height = height;
  }
  const to = canvas.getContext("2d");
  if (to === null) return;
  to.drawImage(picture, 0, 0, width, height);
  const sx = width / header.width;
  const sy = height / header.height;
  const line = Math.max(2, 2 * scale);
  const font = Math.round(13 * scale);
  to.font = `600 ${font}px system-ui, sans-serif`;
  to.textBaseline = "middle";
  for (const { global_id: id, box } of header.people) {
    const [x1, y1, x2, y2] = box;
    const colour = id === null ? UNKNOWN_COLOUR : colourOf(id);
    const chosen = id !== null && id === highlighted;
    to.lineWidth = chosen ? line * 2 : line;
    to.setLineDash(id === null ? [line * 2, line * 2] : []);
    // A dark line under the bright one, so that it is seen on any ground.
    to.strokeStyle = "rgb(0 0 0 / 0.55)";
    to.strokeRect(x1 * sx + line / 2, y1 * sy + line / 2, (x2 - x1) * sx, (y2 - y1) * sy);
    to.strokeStyle = colour;
    to.strokeRect(x1 * sx, y1 * sy, (x2 - x1) * sx, (y2 - y1) * sy);
    if (id === null) continue;
    const text = String(id);
    const wide = to.measureText(text).width + font * 0.8;
    const high = font * 1.5;
    const left = Math.min(Math.max(0, x1 * sx - line / 2), width - wide);
    const top = y1 * sy >= high ? y1 * sy - high : y1 * sy;
    to.fillStyle = colour;
    to.fillRect(left, top, wide, high);
    to.fillStyle = "#101413";
    to.fillText(text, left + font * 0.4, top + high / 2 + scale * 0.5);
  }
  to.setLineDash([]);
}
