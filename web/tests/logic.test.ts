import { expect, test, vi } from "vitest";
import { ApiError, asApiError, Client, errorOf, offersOf } from "../src/api/client";
import type { FrameHeader, Sight } from "../src/api/types";
import { Afterwards } from "../src/logic/afterwards";
import { personAt } from "../src/logic/boxes";
import { colourOf, hueOf } from "../src/logic/colour";
import { ago, decimal, nsOfField, plural, span } from "../src/logic/format";
import { ticksOf, timelineOf } from "../src/logic/journey";
import { patiently } from "../src/logic/patience";
import { checkPicture, MOST_BYTES } from "../src/logic/picture";
import { bodyOf, moved, placed } from "../src/logic/places";
import { rateOf, type Reading } from "../src/logic/rate";
import { href, parseRoute } from "../src/logic/route";

test("addresses of pages can be read back", () => {
  const address = href("identities", "a/b?c", { camera: "hall & yard", since: "" });
  const route = parseRoute(address);
  expect([route.page, route.item, [...route.query]]).toEqual(["identities", "a/b?c", [["camera", "hall & yard"]]]);
  expect(parseRoute("").page).toBe("live");
  expect(parseRoute("#/live/%E0%A4%A").item).toBe("%E0%A4%A");
});

test("what the server offers comes out of its own description", () => {
  const offers = offersOf({ paths: { "/api/v1/identities/{global_id}": { get: {}, delete: {} } } });
  expect([...offers]).toEqual(["GET /identities/{}", "DELETE /identities/{}"]);
});

test("a token that no header can hold is told of, and not taken for a server that is away", async () => {
  for (const token of ["“abc”", "a b", "a\nb"]) {
    await expect(new Client(token, undefined, "http://127.0.0.1:9").get("/me")).rejects.toMatchObject({ status: 401 });
  }
});

test("errors keep what was found, expected and can be done, and survive proxies", async () => {
  const told = { error: "gone", found: "f", expected: "e", fix: "x" };
  const error = await errorOf(new Response(JSON.stringify(told), { status: 404 }));
  expect({ ...error }).toMatchObject({ status: 404, ...told });
  const other = await errorOf(new Response("<html>", { status: 502, statusText: "Bad Gateway" }));
  expect(other.found).toContain("502 Bad Gateway");
  expect(asApiError(new TypeError("Failed to fetch")).error).toBe("away");
});

test("lengths of time are told in two units at most, rounded once", () => {
  expect([0.0004, 0.85, 9.96, 59.6, 61, 3599.7, 3600, 86399, 90000].map(span)).toEqual([
    "0 ms", "850 ms", "10 s", "1 min", "1 min 1 s", "1 h", "1 h", "1 d", "1 d 1 h",
  ]);
  expect(span(NaN)).toBe("–");
  expect(ago(1e9, 1500)).toBe("just now");
  expect(ago(1e9, 4700)).toBe("4 s ago");
  expect(ago(0, 125_000)).toBe("2 min 5 s ago");
  expect([plural(1, "stay"), plural(1200, "person", "people")]).toEqual(["1 stay", "1\u202f200 people"]);
});

test("times of a filter are exact nanoseconds", () => {
  const ns = nsOfField("2026-01-05T09:00");
  expect(BigInt(ns ?? 0)).toBe(BigInt(new Date(2026, 0, 5, 9).getTime()) * 1_000_000n);
  expect([nsOfField(""), nsOfField("soon")]).toEqual([null, null]);
});

test("people next to each other in number are far apart in colour", () => {
  for (let id = 1; id < 500; id++) {
    const apart = Math.abs(hueOf(id) - hueOf(id + 1));
    expect(Math.min(apart, 360 - apart)).toBeGreaterThan(100);
  }
  expect(new Set(Array.from({ length: 300 }, (_, k) => colourOf(k + 1))).size).toBe(300);
});

test("a click finds the smallest box under it, in the camera's pixels", () => {
  const header: FrameHeader = {
    camera: "hall", ns: 0, width: 200, height: 100, jpeg: 0,
    people: [
      { track: 1, global_id: 7, box: [0, 0, 100, 100] },
      { track: 2, global_id: null, box: [40, 40, 60, 60] },
    ],
  };
  expect(personAt(header, 50, 50, 400, 200)?.track).toBe(1);
  expect(personAt(header, 100, 100, 400, 200)?.track).toBe(2);
  expect(personAt(header, 300, 10, 400, 200)).toBeNull();
});

const stay = (camera: string, start: number, end: number, track = 1): Sight => ({
  camera, track, start_ns: start * 1e9, end_ns: end * 1e9, observations: 3,
});

test("a journey keeps time in proportion, a lane for each camera in the order of seeing", () => {
  const line = timelineOf([stay("yard", 30, 40), stay("hall", 0, 10), stay("hall", 60, 100, 2)]);
  expect(line?.lanes).toEqual(["hall", "yard"]);
  expect(line?.segments.map(({ lane, from, to }) => [lane, from, to])).toEqual([
    [0, 0, 0.1], [1, 0.3, 0.4], [0, 0.6, 1],
  ]);
  expect(line?.hops.map((each) => each.seconds)).toEqual([20, 20]);
  const both = timelineOf([stay("hall", 0, 10), stay("yard", 8, 20)]);
  expect(both?.hops).toEqual([]);
  expect(timelineOf([])).toBeNull();
  expect(timelineOf([stay("hall", 5, 5)])?.segments[0]).toMatchObject({ from: 0, to: 0 });
});

test("ticks are round times, inside, and not too many", () => {
  for (const seconds of [1, 7, 61, 3600, 90_000, 6e6]) {
    const ticks = ticksOf(1.7637e18, seconds * 1e9, 6);
    expect(ticks.length).toBeGreaterThan(0);
    expect(ticks.length).toBeLessThanOrEqual(7);
    for (const { at } of ticks) expect(at >= 0 && at <= 1).toBe(true);
  }
});

test("rates come from a window, and begin anew with another run", () => {
  const readings: Reading[] = [];
  expect(rateOf(readings, { at: 0, value: 100 })).toBeNull();
  expect(rateOf(readings, { at: 2000, value: 120 })).toBe(10);
  for (let k = 2; k < 30; k++) rateOf(readings, { at: k * 2000, value: 120 });
  expect(rateOf(readings, { at: 60_000, value: 120 })).toBe(0);
  expect(rateOf(readings, { at: 62_000, value: 5 })).toBeNull();
});

test("cameras that nobody put stand apart on a ring, and none leaves the map", () => {
  const places = placed([
    { id: "a", x: 0.2, y: 0.3 }, { id: "b", x: null, y: null }, { id: "c", x: null, y: null },
  ]);
  expect(places[0]).toEqual({ id: "a", x: 0.2, y: 0.3 });
  expect(Math.hypot((places[1]?.x ?? 0) - (places[2]?.x ?? 0), (places[1]?.y ?? 0) - (places[2]?.y ?? 0))).toBeGreaterThan(0.2);
  const next = moved(places, "a", 7, -7);
  expect(next[0]).toEqual({ id: "a", x: 0.96, y: 0.04 });
  expect(next[1]).toBe(places[1]);
});

test("only links that were given are kept, learned ones are not made given", () => {
  const link = { from: "a", to: "b", count: 3, p05_s: 1, median_s: 2, p95_s: 3, given: false };
  const body = bodyOf([{ id: "a", x: 0.5, y: 0.5 }], [link, { ...link, given: true }]);
  expect(body.links).toEqual([{ ...link, given: true }]);
});

test("a picture to search by is looked at before it is sent", () => {
  expect(checkPicture({ type: "image/png", size: MOST_BYTES })).toBe("");
  expect(checkPicture({ type: "image/png", size: MOST_BYTES + 1 })).toContain("8 are the most");
  expect(checkPicture({ type: "text/html", size: 1 })).toContain("text/html");
  expect(checkPicture({ type: "image/png", size: 0 })).toContain("empty");
});

test("a busy server is asked again, one that refuses is not", async () => {
  const never = new AbortController().signal;
  const answers: (number | string)[] = [503, "found"];
  const ask = () => {
    const next = answers.shift();
    return typeof next === "number" ? Promise.reject(new ApiError(next, "x", "y")) : Promise.resolve(next);
  };
  expect(await patiently(ask, never)).toBe("found");
  answers.push(409, "not asked for");
  await expect(patiently(ask, never)).rejects.toMatchObject({ status: 409 });
  expect(answers).toEqual(["not asked for"]);
});

test("what was told is asked for once the gallery has it, however much is told in a row", () => {
  vi.useFakeTimers();
  try {
    let asked = 0;
    const again = new Afterwards(() => asked++);
    again.told();
    expect(asked).toBe(0); // the gallery has not written it yet
    for (let k = 0; k < 4; k++) {
      vi.advanceTimersByTime(600);
      again.told();
    }
    expect(asked).toBe(2);
    vi.advanceTimersByTime(60_000);
    expect(asked).toBe(4); // what was told last, soon and late
    again.told();
    again.end();
    vi.advanceTimersByTime(60_000);
    expect(asked).toBe(4);
  } finally {
    vi.useRealTimers();
  }
});

test("numbers have a true minus, and nothing is less than nothing", () => {
  expect([decimal(-7.24, 1), decimal(7.26, 1), decimal(-0.001, 2), decimal(0, 1)]).toEqual(["\u22127.2", "7.3", "0.00", "0.0"]);
});

test("two cameras stand side by side, for names stand above and below", () => {
  const two = placed([{ id: "a", x: null, y: null }, { id: "b", x: null, y: null }]);
  expect(two.map(({ x, y }) => [x.toFixed(2), y.toFixed(2)])).toEqual([["0.14", "0.50"], ["0.86", "0.50"]]);
});
