/** Asks again where the server is busy, as it is while it answers somebody else's search. */

import { asApiError } from "../api/client";
import { pause } from "./pause";

const TRIES = 6;
const FIRST_PAUSE_MS = 300;

/** Return the answer; asked for again, later and later, while the server says "not now" (503). */
export async function patiently<T>(ask: () => Promise<T>, signal: AbortSignal): Promise<T> {
  for (let k = 1; ; k++) {
    try {
      return await ask();
    } catch (thrown) {
      if (k === TRIES || signal.aborted || asApiError(thrown).status !== 503) throw thrown;
    }
    await pause(FIRST_PAUSE_MS * 1.6 ** (k - 1), signal);
  }
}
