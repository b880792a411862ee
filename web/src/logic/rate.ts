/** How quickly a counter grows. */

export interface Reading {
  /** Milliseconds of a clock that cannot be set. */
  at: number;
  value: number;
}

const WINDOW_MS = 12_000;

/**
 * Note a reading, and return the growth per second over the last twelve; null before there are two.
 *
 * @param readings - Those before, oldest first; changed in place.
 */
export function rateOf(readings: Reading[], next: Reading): number | null {
  const last = readings.at(-1);
  if (last !== undefined && next.value < last.value) readings.length = 0; // another run
  if (last === undefined || next.value !== last.value || next.at - last.at > 500) readings.push(next);
  while (readings.length > 2 && next.at - (readings[0] as Reading).at > WINDOW_MS) readings.shift();
  const first = readings[0] as Reading;
  const seconds = (next.at - first.at) / 1000;
  return seconds < 0.5 ? null : (next.value - first.value) / seconds;
}
