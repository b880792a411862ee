/** Where the parts of a journey go on a time line: one lane a camera, pauses kept in proportion. */

import type { Sight } from "../api/types";

export interface Segment {
  sight: Sight;
  lane: number;
  /** From 0 to 1, of the whole time. */
  from: number;
  to: number;
}

export interface Timeline {
  lanes: string[];
  segments: Segment[];
  /** From one stay to the next, where the camera is another one. */
  hops: { from: Segment; to: Segment; seconds: number }[];
  ticks: { at: number; ns: number }[];
  startNs: number;
  endNs: number;
}

const STEPS_S = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400];

/** Return the time line of a journey; lanes in the order in which the cameras first saw them. */
export function timelineOf(journey: readonly Sight[], ticks = 6): Timeline | null {
  if (!journey.length) return null;
  const stays = [...journey].sort((a, b) => a.start_ns - b.start_ns || a.end_ns - b.end_ns);
  const startNs = Math.min(...stays.map((each) => each.start_ns));
  const endNs = Math.max(...stays.map((each) => each.end_ns));
  const length = Math.max(endNs - startNs, 1e9); // one picture still has a width
  const lanes = [...new Set(stays.map((each) => each.camera))];
  const segments = stays.map((sight) => ({
    sight,
    lane: lanes.indexOf(sight.camera),
    from: (sight.start_ns - startNs) / length,
    to: (sight.end_ns - startNs) / length,
  }));
  const hops: Timeline["hops"] = [];
  segments.forEach((to, k) => {
    const from = segments[k - 1];
    const seconds = from === undefined ? 0 : (to.sight.start_ns - from.sight.end_ns) / 1e9;
    // Cameras that see the same place have somebody at once: nobody went anywhere.
    if (from !== undefined && from.lane !== to.lane && seconds >= 0) hops.push({ from, to, seconds });
  });
  return { lanes, segments, hops, ticks: ticksOf(startNs, length, ticks), startNs, endNs: startNs + length };
}

/** Return round times of a span, at most so many. */
export function ticksOf(startNs: number, lengthNs: number, most: number): Timeline["ticks"] {
  const seconds = lengthNs / 1e9;
  const step = STEPS_S.find((each) => seconds / each <= most) ?? 86400 * Math.ceil(seconds / 86400 / most);
  // Round in the time of the place where the page is read.
  const zone = new Date(startNs / 1e6).getTimezoneOffset() * 60;
  const found: Timeline["ticks"] = [];
  for (let s = Math.ceil((startNs / 1e9 - zone) / step) * step + zone; s * 1e9 <= startNs + lengthNs; s += step) {
    found.push({ at: (s * 1e9 - startNs) / lengthNs, ns: s * 1e9 });
  }
  return found;
}
