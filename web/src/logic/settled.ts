/** Waits for what was decided by hand to be found in the gallery, which is a second behind the run. */

import { asApiError, type Client } from "../api/client";
import type { IdentityPage } from "../api/types";
import { pause } from "./pause";

const TRIES = 25;
const PAUSE_MS = 200;

/** Wait until an id is told to be of somebody; for a few seconds at most, as nothing depends on it. */
export async function settled(client: Client, id: number, somebody: number): Promise<void> {
  const never = new AbortController().signal;
  for (let k = 0; k < TRIES; k++) {
    try {
      if ((await client.get<IdentityPage>(`/identities/${id}`)).global_id === somebody) return;
    } catch (thrown) {
      if (asApiError(thrown).status !== 404) throw thrown;
    }
    await pause(PAUSE_MS, never);
  }
}
