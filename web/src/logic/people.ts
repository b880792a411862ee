/** A list of people that is asked for again and again while somebody reads it. */

import type { Identities } from "../api/types";

/** What happened to an id, as far as a list of people cares; times are UTC in nanoseconds. */
export interface Told {
  kind: string;
  global_id: number;
  other_id: number | null;
  camera: string | null;
  time_ns: number;
}

/** What a list is narrowed to; null for all. */
export interface Narrowed {
  camera: string | null;
  sinceNs: string | null;
  untilNs: string | null;
}

/** Return the id that somebody wrote; null where it is none. */
export function idOf(text: string): number | null {
  return /^[1-9]\d*$/.test(text) && Number.isSafeInteger(Number(text)) ? Number(text) : null;
}

/**
 * Return the list to show: those who stood there, as they are now, so that nothing moves under a pointer.
 *
 * Whoever is new waits until they are asked for. Whoever is gone, erased or merged, goes at once; but
 * people who are older than all that was answered were only pushed off its end, and stay as they were:
 * see `restOf`.
 *
 * @param old - What stands there; null for nothing yet.
 * @param answered - The newest people.
 * @param rest - What came of `restOf`, if that was asked for.
 */
export function listOf(old: Identities | null, answered: Identities, rest: Identities | null = null): Identities {
  if (old === null || !old.identities.length) return answered;
  const both = rest === null ? [answered] : [rest, answered];
  const now = new Map(both.flatMap((each) => each.identities).map((each) => [each.global_id, each]));
  const oldest = both.some((each) => each.next === null) ? 0 : Math.min(...now.keys());
  const identities = old.identities.flatMap((each) => now.get(each.global_id) ?? (each.global_id < oldest ? each : []));
  return { identities, next: old.next };
}

/** Return the cursor that those who stand there are asked for from, where newcomers pushed some off the answer. */
export function restOf(shown: Identities, answered: Identities): number | null {
  if (answered.next === null || !shown.identities.length) return null;
  const oldest = Math.min(...shown.identities.map((each) => each.global_id));
  return oldest < Math.min(...answered.identities.map((each) => each.global_id)) ? newestOf(shown) + 1 : null;
}

/** Return who is known to fit the list after one more event, if it tells of somebody who does. */
export function heard(known: ReadonlySet<number>, event: Told, narrowed: Narrowed): ReadonlySet<number> {
  const { kind, global_id: id, other_id: other } = event;
  const gone = kind === "erased" ? id : kind === "merged" ? other : null;
  if (gone !== null) return known.has(gone) ? new Set([...known].filter((each) => each !== gone)) : known;
  const seen = ["new", "matched", "split"].includes(kind) && fits(event, narrowed);
  return seen && !known.has(id) ? new Set([...known, id]) : known;
}

function fits({ camera, time_ns }: Told, narrowed: Narrowed): boolean {
  return (
    (narrowed.camera === null || narrowed.camera === camera) &&
    (narrowed.sinceNs === null || time_ns >= Number(narrowed.sinceNs)) &&
    (narrowed.untilNs === null || time_ns <= Number(narrowed.untilNs))
  );
}

/**
 * Return how many would stand there too if the list was made anew: who was answered, and who was told of since.
 *
 * Some are not the newest: somebody from long ago is seen by the camera that the list is narrowed to.
 *
 * @param before - The cursor of the page; null for the newest.
 */
export function freshIn(
  shown: Identities, answers: readonly Identities[], told: ReadonlySet<number>, before: number | null,
): number {
  const there = new Set(shown.identities.map((each) => each.global_id));
  const ids = new Set([...answers.flatMap((each) => each.identities.map(({ global_id }) => global_id)), ...told]);
  const onPage = (id: number) => id > (shown.next ?? 0) && id < (before ?? Infinity);
  return [...ids].filter((id) => onPage(id) && !there.has(id)).length;
}

function newestOf(list: Identities): number {
  return Math.max(0, ...list.identities.map((each) => each.global_id));
}
