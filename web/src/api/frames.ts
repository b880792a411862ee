/** Live pictures: each is 4 bytes of length (big-endian), a JSON header, and a JPEG. */

import type { ApiError, Client } from "./client";
import { keep, type State } from "./connection";
import type { FrameHeader } from "./types";

export interface Frame {
  header: FrameHeader;
  jpeg: Uint8Array<ArrayBuffer>;
}

const MOST_HEADER = 1 << 20;
const MOST_JPEG = 1 << 26;

/** Reads frames out of bytes that come in pieces. */
export class FrameParser {
  private pieces: Uint8Array[] = [];
  private have = 0;
  private header: FrameHeader | null = null;
  private headerLength: number | null = null;

  /** Take a piece; returns the frames that are whole by now. Throws where the stream is none. */
  push(piece: Uint8Array): Frame[] {
    if (piece.length) {
      this.pieces.push(piece);
      this.have += piece.length;
    }
    const found: Frame[] = [];
    for (;;) {
      if (this.headerLength === null) {
        if (this.have < 4) return found;
        const bytes = this.take(4);
        this.headerLength = new DataView(bytes.buffer).getUint32(0);
        if (this.headerLength > MOST_HEADER) throw new Error("this is no stream of live pictures");
      }
      if (this.header === null) {
        if (this.have < this.headerLength) return found;
        const text = new TextDecoder().decode(this.take(this.headerLength));
        this.header = JSON.parse(text) as FrameHeader;
        const { jpeg } = this.header;
        if (!(jpeg >= 0 && jpeg <= MOST_JPEG)) throw new Error("this is no stream of live pictures");
      }
      if (this.have < this.header.jpeg) return found;
      found.push({ header: this.header, jpeg: this.take(this.header.jpeg) });
      this.header = null;
      this.headerLength = null;
    }
  }

  /** Return the next bytes, copied once. */
  private take(length: number): Uint8Array<ArrayBuffer> {
    const taken = new Uint8Array(length);
    let at = 0;
    while (at < length) {
      const first = this.pieces[0] as Uint8Array;
      const part = first.subarray(0, length - at);
      taken.set(part, at);
      at += part.length;
      if (part.length === first.length) this.pieces.shift();
      else this.pieces[0] = first.subarray(part.length);
    }
    this.have -= length;
    return taken;
  }
}

export interface Watcher {
  onFrame(frame: Frame): void;
  onState(state: State, error: ApiError | null): void;
}

/** Answers after which it is of no use to try again. */
export const FINAL: readonly number[] = [401, 403, 404, 405, 409, 422];
const PATIENCE = { silenceMs: 20_000, pauseMs: 10_000, final: FINAL };

/** Watch live pictures until the signal; tries again after breaks. */
export function watch(client: Client, query: string, watcher: Watcher, signal: AbortSignal): Promise<void> {
  return keep(
    {
      ask: (ended) => client.ask(`/live${query}`, { signal: ended }),
      open: () => {
        const parser = new FrameParser();
        return (piece) => parser.push(piece).forEach((frame) => watcher.onFrame(frame));
      },
      onState: (state, error) => watcher.onState(state, error),
    },
    PATIENCE,
    signal,
  );
}
