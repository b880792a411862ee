/** Times and numbers as people read them. */

const MS = 1e6;

/** Return the date of a time in nanoseconds. */
export function dateOf(ns: number): Date {
  return new Date(ns / MS);
}

/** Return the time of day, with the date where it is not today's. */
export function clock(ns: number, now = new Date()): string {
  const date = dateOf(ns);
  const time = date.toLocaleTimeString([], {
    hour: "2-digit",
    minute: "2-digit",
    second: "2-digit",
    hourCycle: "h23",
  });
  return date.toDateString() === now.toDateString()
    ? time
    : `${date.toLocaleDateString([], { day: "numeric", month: "short" })}, ${time}`;
}

/** Return the whole time, zone included, for tooltips. */
export function exact(ns: number): string {
  return dateOf(ns).toISOString();
}

/** Return a length of time in words: `850 ms`, `42 s`, `3 min 5 s`, `2 h 10 min`, `4 d 2 h`. */
export function span(seconds: number): string {
  if (!Number.isFinite(seconds)) return "–";
  const all = Math.max(0, seconds);
  if (all < 1) return `${Math.round(all * 1000)} ms`;
  if (all < 10) return `${Number(all.toFixed(1))} s`;
  if (Math.round(all) < 60) return `${Math.round(all)} s`;
  if (Math.round(all) < 3600) return two(Math.round(all), 60, "min", "s");
  const minutes = Math.round(all / 60);
  return minutes < 1440 ? two(minutes, 60, "h", "min") : two(Math.round(all / 3600), 24, "d", "h");
}

function two(value: number, base: number, large: string, small: string): string {
  const rest = value % base;
  return `${Math.floor(value / base)} ${large}${rest ? ` ${rest} ${small}` : ""}`;
}

/** Return how long ago a time was, in whole seconds: `just now`, `12 s ago`. */
export function ago(ns: number, nowMs = Date.now()): string {
  const seconds = nowMs / 1000 - ns / 1e9;
  return seconds < 2 ? "just now" : `${span(Math.round(seconds))} ago`;
}

/** Return a number with so many digits after the point, and a true minus. */
export function decimal(value: number, digits: number): string {
  return value.toFixed(digits).replace(/^-(?=.*[1-9])/, "\u2212").replace(/^-/, "");
}

/** Return a number with spaces of thousands. */
export function count(value: number): string {
  return value.toLocaleString("en-GB").replaceAll(",", "\u202f");
}

/** Return a plural: `1 person`, `3 people`. */
export function plural(value: number, one: string, many = `${one}s`): string {
  return `${count(value)} ${value === 1 ? one : many}`;
}

/** Return nanoseconds, exactly, of what a field for date and time holds; null for nothing. */
export function nsOfField(value: string): string | null {
  if (!value) return null;
  const ms = new Date(value).getTime();
  return Number.isNaN(ms) ? null : String(BigInt(ms) * 1_000_000n);
}
