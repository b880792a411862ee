import { expect, test } from "vitest";
import type { Identities } from "../src/api/types";
import { freshIn, heard, idOf, listOf, restOf, type Narrowed, type Told } from "../src/logic/people";

const people = (next: number | null, ...ids: [id: number, tracklets: number][]): Identities => ({
  identities: ids.map(([global_id, tracklets]) => ({
    global_id, tracklets, first_ns: 0, last_ns: 0, cameras: [], state: "known" as const, picture: null,
  })),
  next,
});
const idsOf = (list: Identities) => list.identities.map((each) => [each.global_id, each.tracklets]);
const NOBODY: ReadonlySet<number> = new Set();

test("an id is a whole number that is counted from one", () => {
  expect(["7", "0", "007", "-1", "1e3", "abc", "", "99999999999999999999"].map(idOf)).toEqual([7, ...Array(7).fill(null)]);
});

test("who is new waits, who is gone goes, and the others are as they are now", () => {
  const first = people(3, [5, 1], [4, 1], [3, 1]);
  expect(listOf(null, first)).toBe(first);
  const next = people(4, [7, 1], [5, 2], [4, 1]);
  expect(idsOf(listOf(first, next))).toEqual([[5, 2], [4, 1], [3, 1]]);
  expect(listOf(first, next).next).toBe(3);
  expect(freshIn(first, [next], NOBODY, null)).toBe(1);
  const merged = people(3, [7, 1], [5, 2], [3, 4]);
  expect(idsOf(listOf(first, merged))).toEqual([[5, 2], [3, 4]]);
  const last = people(null, [5, 1], [4, 1]);
  expect(idsOf(listOf(first, last))).toEqual([[5, 1], [4, 1]]);
  expect(listOf(people(null), next)).toBe(next);
  expect(freshIn(people(null), [people(null)], NOBODY, null)).toBe(0);
});

test("those whom newcomers push off the answer are asked for, and are as they are now or gone", () => {
  const shown = people(3, [5, 1], [4, 1], [3, 1]);
  expect(restOf(shown, people(4, [6, 1], [5, 1], [4, 1]))).toBe(6);
  expect(restOf(shown, people(3, [5, 1], [4, 1], [3, 1]))).toBeNull();
  expect(restOf(shown, people(null, [6, 1]))).toBeNull();
  expect(restOf(people(null), people(3, [5, 1]))).toBeNull();
  const answered = people(7, [9, 1], [8, 1], [7, 1]);
  const rest = people(2, [5, 9], [3, 1], [2, 1]);
  expect(idsOf(listOf(shown, answered, rest))).toEqual([[5, 9], [3, 1]]);
  expect(idsOf(listOf(shown, answered))).toEqual([[5, 1], [4, 1], [3, 1]]);
  expect(idsOf(listOf(shown, answered, people(null)))).toEqual([]);
  expect(freshIn(listOf(shown, answered, rest), [answered, rest], NOBODY, null)).toBe(3);
});

const told = (kind: string, global_id: number, more: Partial<Told> = {}): Told => ({
  kind, global_id, other_id: null, camera: "hall", time_ns: 100, ...more,
});
const all: Narrowed = { camera: null, sinceNs: null, untilNs: null };
const known = (narrowed: Narrowed, ...events: Told[]) =>
  [...events.reduce<ReadonlySet<number>>((old, event) => heard(old, event, narrowed), NOBODY)];

test("only who fits the filter counts as new", () => {
  const events = [told("new", 6), told("new", 7, { camera: "yard", time_ns: 200 }), told("new", 8, { time_ns: 300 })];
  expect(known(all, ...events)).toEqual([6, 7, 8]);
  expect(known({ ...all, camera: "yard" }, ...events)).toEqual([7]);
  expect(known({ ...all, sinceNs: "200" }, ...events)).toEqual([7, 8]);
  expect(known({ ...all, untilNs: "200" }, ...events)).toEqual([6, 7]);
  expect(known({ camera: "hall", sinceNs: "200", untilNs: "250" }, ...events)).toEqual([]);
  // Somebody new elsewhere who then comes to the camera.
  expect(known({ ...all, camera: "hall" }, told("new", 7, { camera: "yard" }), told("matched", 7))).toEqual([7]);
});

test("whoever is merged or erased is new no longer", () => {
  expect(known(all, told("new", 6), told("new", 7), told("merged", 6, { other_id: 7, camera: null }))).toEqual([6]);
  expect(known(all, told("new", 6), told("split", 7), told("erased", 6))).toEqual([7]);
  expect(known(all, told("ended", 6), told("moved", 7))).toEqual([]);
});

test("new is who would stand on this page and does not", () => {
  const shown = people(3, [9, 1], [4, 1], [3, 1]);
  expect(freshIn(shown, [], new Set([9, 6, 2, 12]), null)).toBe(2);
  expect(freshIn(shown, [], new Set([9, 6, 2, 12]), 10)).toBe(1);
  expect(freshIn(people(null, [9, 1]), [people(null, [9, 1], [2, 1])], new Set([2]), null)).toBe(1);
});
