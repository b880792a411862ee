import { expect, test } from "vitest";
import { EventParser } from "../src/api/sse";

test("events are read whatever pieces they come in", () => {
  const text = ": hello\n\nevent: identity\nid: a-1\ndata: {\"x\":\ndata: 1}\n\ndata: two\r\n\r\n:\n\n";
  for (let size = 1; size <= text.length; size++) {
    const parser = new EventParser();
    const found = [];
    for (let k = 0; k < text.length; k += size) found.push(...parser.push(text.slice(k, k + size)));
    expect(found).toEqual([
      { event: "identity", id: "a-1", data: '{"x":\n1}' },
      { event: "message", id: "a-1", data: "two" },
    ]);
  }
});

test("an event without data is none, but its id counts", () => {
  const parser = new EventParser();
  expect(parser.push("event: missed\nid: b-7\n\n")).toEqual([]);
  expect(parser.push("data: {}\n\n")).toEqual([{ event: "message", id: "b-7", data: "{}" }]);
});
