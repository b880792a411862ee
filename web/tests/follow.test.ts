import { createServer, type Server, type ServerResponse } from "node:http";
import { afterEach, expect, test } from "vitest";
import { Client } from "../src/api/client";
import { follow } from "../src/api/sse";
import { watch, type Frame } from "../src/api/frames";
import { bytesOf } from "./parts";

let server: Server | null = null;
afterEach(() => {
  server?.closeAllConnections();
  server?.close();
});

async function serve(answers: ((to: ServerResponse, headers: Record<string, unknown>) => void)[]): Promise<string> {
  let turn = 0;
  server = createServer((from, to) => answers[Math.min(turn++, answers.length - 1)]?.(to, from.headers));
  await new Promise<void>((ready) => server?.listen(0, "127.0.0.1", ready));
  const address = server?.address();
  return `http://127.0.0.1:${typeof address === "object" ? address?.port : ""}`;
}

test("a follower goes on where it was, shows its token, and tells of what was missed", async () => {
  const told: string[] = [];
  const ended = new AbortController();
  const base = await serve([
    (to, headers) => {
      told.push(`${headers["authorization"]} ${headers["last-event-id"]}`);
      to.end("event: identity\nid: a-4\ndata: {}\n\n");
    },
    (to) => to.writeHead(503).end(),
    (to, headers) => {
      told.push(String(headers["last-event-id"]));
      to.write("event: missed\nid: a-9\ndata: {}\n\n");
    },
  ]);
  await follow(
    new Client("secret", undefined, base),
    {
      onEvent: (event) => told.push(event.event),
      onMissed: () => {
        told.push("missed");
        ended.abort();
      },
      onState: (state) => told.push(state),
    },
    ended.signal,
  );
  expect(told).toEqual([
    "connecting", "Bearer secret undefined", "live", "identity", "lost",
    "lost", "lost", "lost", "a-4", "live", "missed",
  ]);
});

test("a follower whose token is no longer known does not try again", async () => {
  let asked = 0;
  const base = await serve([(to) => { asked += 1; to.writeHead(401).end("{}"); }]);
  let out = false;
  const client = new Client("old", () => { out = true; }, base);
  await follow(client, { onEvent() {}, onMissed() {}, onState() {} }, new AbortController().signal);
  expect([asked, out]).toEqual([1, true]);
});

test("live pictures go on after a break", async () => {
  const frames: Frame[] = [];
  const ended = new AbortController();
  const base = await serve([
    (to) => to.end(bytesOf("hall", [1, 2])),
    (to) => to.write(bytesOf("hall", [3])),
  ]);
  await watch(
    new Client(null, undefined, base),
    "?fps=5",
    {
      onFrame: (frame) => {
        frames.push(frame);
        if (frames.length === 2) ended.abort();
      },
      onState() {},
    },
    ended.signal,
  );
  expect(frames.map((each) => [...each.jpeg])).toEqual([[1, 2], [3]]);
});

test("pictures that are refused for good are not asked for again, those of a busy server are", async () => {
  const told: string[] = [];
  const base = await serve([(to) => to.writeHead(503).end(), (to) => to.writeHead(404).end()]);
  await watch(
    new Client(null, undefined, base),
    "",
    { onFrame() {}, onState: (state, error) => told.push(`${state} ${error?.status ?? ""}`.trim()) },
    new AbortController().signal,
  );
  expect(told).toEqual(["connecting", "lost 503", "lost", "lost 404"]);
});
