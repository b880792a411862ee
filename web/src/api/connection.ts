/** A connection that is kept: begun anew after breaks, later and later, until it is no longer wanted. */

import { asApiError, type ApiError } from "./client";
import { pause } from "../logic/pause";

export type State = "connecting" | "live" | "lost";

export interface Kept {
  /** Ask for the stream. */
  ask(signal: AbortSignal): Promise<Response>;
  /** It is there, for the first time or again; returns what takes its bytes, which come in pieces. */
  open(again: boolean): (piece: Uint8Array) => void;
  onState(state: State, error: ApiError | null): void;
}

export interface Patience {
  /** Nothing for longer: the connection is dead, for the server says something more often. */
  silenceMs: number;
  /** Longest wait before it is tried again. */
  pauseMs: number;
  /** Answers after which it is of no use to try again. */
  final: readonly number[];
}

const FIRST_PAUSE_MS = 500;

/** Keep a connection until the signal, or until an answer that will not change. */
export async function keep(kept: Kept, patience: Patience, signal: AbortSignal): Promise<void> {
  let failures = 0;
  while (!signal.aborted) {
    kept.onState(failures ? "lost" : "connecting", null);
    const attempt = new AbortController();
    const stop = () => attempt.abort();
    signal.addEventListener("abort", stop, { once: true });
    let silence: ReturnType<typeof setTimeout> | undefined;
    const heard = () => {
      clearTimeout(silence);
      silence = setTimeout(stop, patience.silenceMs);
    };
    try {
      heard();
      const answer = await kept.ask(attempt.signal);
      if (answer.body === null) return;
      kept.onState("live", null);
      const take = kept.open(failures > 0);
      const reader = answer.body.getReader();
      for (;;) {
        const { value, done } = await reader.read();
        if (done) break;
        heard();
        failures = 0; // whoever answers and says nothing is as good as away
        take(value);
      }
      failures += 1;
      kept.onState("lost", null);
    } catch (thrown) {
      if (signal.aborted) return;
      failures += 1;
      const error = asApiError(thrown);
      kept.onState("lost", error);
      if (patience.final.includes(error.status)) return;
    } finally {
      clearTimeout(silence);
      signal.removeEventListener("abort", stop);
      attempt.abort();
    }
    await pause(Math.min(FIRST_PAUSE_MS * 2 ** (failures - 1), patience.pauseMs), signal);
  }
}
