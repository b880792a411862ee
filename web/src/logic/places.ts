/** Where cameras are on the map: as they were put, else on a ring. */

import type { Link, Place, Topology } from "../api/types";

export interface Placed {
  id: string;
  /** From 0 to 1, of the map. */
  x: number;
  y: number;
}

/** Return a place for every camera; those that nobody put stand on a ring, in order. */
export function placed(cameras: readonly Place[]): Placed[] {
  return cameras.map(({ id, x, y }, k) => {
    if (x !== null && y !== null) return { id, x: within(x), y: within(y) };
    // Two stand side by side: there is more room, and names stand below.
    const first = cameras.length === 2 ? Math.PI : -Math.PI / 2;
    const angle = (2 * Math.PI * k) / cameras.length + first;
    return { id, x: 0.5 + 0.36 * Math.cos(angle), y: 0.5 + 0.36 * Math.sin(angle) };
  });
}

/** Return a value kept on the map. */
export function within(value: number): number {
  return Math.min(0.96, Math.max(0.04, value));
}

/** Return the positions with one camera moved. */
export function moved(places: readonly Placed[], id: string, x: number, y: number): Placed[] {
  return places.map((each) => (each.id === id ? { id, x: within(x), y: within(y) } : each));
}

/** Return what a link says: its time, how sure, and whether somebody gave it. */
export function linkText(link: Link, span: (seconds: number) => string): string {
  return `${span(link.median_s)} (${span(link.p05_s)} – ${span(link.p95_s)})`;
}

/** Return the body that keeps positions and given links. */
export function bodyOf(places: readonly Placed[], links: readonly Link[]): Topology {
  return { cameras: places.map(({ id, x, y }) => ({ id, x, y })), links: links.filter((each) => each.given) };
}
