/** A list of people that is asked for again and again while somebody reads it. */

import type { Identities } from "../api/types";

/**
 * Return the list to show: those who stood there, as they are now, so that nothing moves under a pointer.
 *
 * Whoever is new waits until they are asked for. Whoever is gone, erased or merged, goes at once; but
 * people who are older than all that was answered were only pushed off its end, and stay as they were.
 */
export function listOf(old: Identities | null, answered: Identities): Identities {
  if (old === null || !old.identities.length) return answered;
  const now = new Map(answered.identities.map((each) => [each.global_id, each]));
  const oldest = answered.next === null ? 0 : Math.min(...now.keys());
  const identities = old.identities.flatMap((each) => now.get(each.global_id) ?? (each.global_id < oldest ? each : []));
  return { identities, next: old.next };
}

/** Return how many of an answer are newer than all who are shown. */
export function freshIn(shown: Identities, answered: Identities): number {
  const newest = Math.max(0, ...shown.identities.map((each) => each.global_id));
  return answered.identities.filter((each) => each.global_id > newest).length;
}
