/** Server-sent events over fetch, which can send a token in a header; `EventSource` cannot. */

import type { ApiError, Client } from "./client";
import { keep, type State } from "./connection";

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
  onState(state: State, error: ApiError | null): void;
}

const PATIENCE = { silenceMs: 40_000, pauseMs: 15_000, final: [401, 403] };

/** Follow what happens until the signal; goes on after breaks where it was. */
export function follow(client: Client, follower: Follower, signal: AbortSignal): Promise<void> {
  let last: string | null = null;
  const tell = (event: ServerEvent) => {
    if (event.id !== null) last = event.id;
    if (event.event === "missed") follower.onMissed();
    else follower.onEvent(event);
  };
  return keep(
    {
      ask: (ended) => {
        const headers: Record<string, string> = last === null ? {} : { "Last-Event-ID": last };
        return client.ask("/events", { headers, signal: ended });
      },
      open: (again) => {
        // Without an id there was nothing to go on from: what happened meanwhile is not known.
        if (again && last === null) follower.onMissed();
        const parser = new EventParser();
        const decoder = new TextDecoder();
        return (piece) => parser.push(decoder.decode(piece, { stream: true })).forEach(tell);
      },
      onState: (state, error) => follower.onState(state, error),
    },
    PATIENCE,
    signal,
  );
}
