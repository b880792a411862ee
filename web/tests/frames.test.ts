import { expect, test } from "vitest";
import { FrameParser, type Frame } from "../src/api/frames";
import { bytesOf } from "./parts";

test("frames are read whatever pieces they come in", () => {
  const parts = [bytesOf("hall ä", [1, 2, 3]), bytesOf(null, []), bytesOf("yard", [9])];
  const all = new Uint8Array(parts.flatMap((each) => [...each]));
  for (let size = 1; size <= all.length; size++) {
    const parser = new FrameParser();
    const found: Frame[] = [];
    for (let k = 0; k < all.length; k += size) found.push(...parser.push(all.subarray(k, k + size)));
    expect(found.map(({ header, jpeg }) => [header.camera, [...jpeg]])).toEqual([
      ["hall ä", [1, 2, 3]],
      [null, []],
      ["yard", [9]],
    ]);
  }
});

test("what is no stream of pictures is refused before memory is taken for it", () => {
  expect(() => new FrameParser().push(new TextEncoder().encode("<html>"))).toThrow("no stream");
});
