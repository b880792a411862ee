/** Server-sent events over fetch, which can send a token in a header; `EventSource` cannot. */

import { asApiError, type ApiError, type Client } from "./client";
import { pause } from "../logic/pause";

export interface ServerEvent {
  event: string;
  id: string | null;
  data: string;
}

/** Reads events out of text that comes in pieces (HTML Living Standard, 9.2.6). */
export class EventParser {
  private rest = "";
  private event = "";
  private data: string[] = [];
  private id: string | null = null;

  /** Take a piece; returns the events that are whole by now. */
  push(text: string): ServerEvent[] {
    const found: ServerEvent[] = [];
    const all = this.rest + text;
    // A carriage return at the end may be half of a line end.
    const lines = all.split(/\r\n|\n|\r(?!$)/);
    this.rest = lines.pop() ?? "";
    for (const line of lines) {
      if (line === "") {
        if (this.data.length > 0) {
          found.push({ event: this.event || "message", id: this.id, data: this.data.join("\n") });
        }
        this.event = "";
        this.data = [];
        continue;
      }
      const colon = line.indexOf(":");
      if (colon === 0) continue;
      const field = colon < 0 ? line : line.slice(0, colon);
      const value = colon < 0 ? "" : line.slice(colon + 1).replace(/^ /, "");
      if (field === "event") this.event = value;
      else if (field === "data") this.data.push(value);
      else if (field === "id" && !value.includes("\0")) this.id = value;
    }
    return found;
  }
}

export interface Follower {
  onEvent(event: ServerEvent): void;
  /** Something was lost: what is shown should be asked for anew. */
  onMissed(): void;
  onState(state: "connecting" | "live" | "lost", error: ApiError | null): void;
}

/** Nothing for longer: the connection is dead, for the server says something every 15 seconds. */
export const SILENCE_MS = 40_000;

/** Follow what happens until the signal; goes on after breaks where it was. */
export async function follow(client: Client, follower: Follower, signal: AbortSignal): Promise<void> {
  let last: string | null = null;
  let failures = 0;
  while (!signal.aborted) {
    follower.onState(failures ? "lost" : "connecting", null);
    const attempt = new AbortController();
    const stop = () => attempt.abort();
    signal.addEventListener("abort", stop, { once: true });
    let silence = 0;
    const heard = () => {
      clearTimeout(silence);
      silence = setTimeout(stop, SILENCE_MS) as unknown as number;
    };
    try {
      heard();
      const headers: Record<string, string> = last === null ? {} : { "Last-Event-ID": last };
      const answer = await client.ask("/events", { headers, signal: attempt.signal });
      if (answer.body === null) return;
      follower.onState("live", null);
      // Without an id there was nothing to go on from: what happened meanwhile is not known.
      if (failures && last === null) follower.onMissed();
      failures = 0;
      const parser = new EventParser();
      const decoder = new TextDecoder();
      const reader = answer.body.getReader();
      for (;;) {
        const { value, done } = await reader.read();
        if (done) break;
        heard();
        for (const event of parser.push(decoder.decode(value, { stream: true }))) {
          if (event.id !== null) last = event.id;
          if (event.event === "missed") follower.onMissed();
          else follower.onEvent(event);
        }
      }
      failures = 1;
      follower.onState("lost", null);
    } catch (thrown) {
      if (signal.aborted) return;
      failures += 1;
      const error = asApiError(thrown);
      follower.onState("lost", error);
      if (error.status === 401 || error.status === 403) return;
    } finally {
      clearTimeout(silence);
      signal.removeEventListener("abort", stop);
    }
    await pause(Math.min(500 * 2 ** (failures - 1), 15_000), signal);
  }
}
