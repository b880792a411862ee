/** Who is signed in, what the server offers, and what happens there. */

import { ApiError, asApiError, Client, offersOf, type Offers } from "../api/client";
import type { State } from "../api/connection";
import { follow, type ServerEvent } from "../api/sse";
import type { Cameras, Me, Role } from "../api/types";
import { Store } from "./store";

const KEY = "crosscam.token";
/** Nobody is sent away without a word. */
const LOST = new ApiError(401, "unauthorised", "this token is not accepted any more, you were signed out");
const RANK: Record<Role, number> = { viewer: 0, operator: 1, admin: 2 };

/** A session with a server. */
export class Session {
  readonly connection = new Store<State>("connecting");
  /** Grows when something was missed and what is shown should be asked for anew. */
  readonly missed = new Store(0);
  private readonly listeners = new Set<(event: ServerEvent) => void>();

  constructor(
    readonly client: Client,
    readonly offers: Offers,
    readonly me: Me | null,
  ) {}

  /** Whether the server has a route. */
  offer(route: string): boolean {
    return this.offers.has(route);
  }

  /** Whether the token may do what takes a role; servers that do not tell are asked when it is done. */
  may(role: Role): boolean {
    return this.me === null || RANK[this.me.role] >= RANK[role];
  }

  /** Be told what happens; returns what ends that. */
  on(listener: (event: ServerEvent) => void): () => void {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  }

  /** Follow the events until the signal. */
  follow(signal: AbortSignal): void {
    void follow(
      this.client,
      {
        onEvent: (event) => this.listeners.forEach((each) => each(event)),
        onMissed: () => this.missed.set(this.missed.value + 1),
        onState: (state) => this.connection.set(state),
      },
      signal,
    );
  }
}

export type Entry =
  | { state: "starting" }
  | { state: "away"; error: ApiError }
  | { state: "sign-in"; error: ApiError | null }
  | { state: "in"; session: Session };

export const entry = new Store<Entry>({ state: "starting" });

/** Try to get in: with the token of this tab, or without one. */
export async function enter(token: string | null = sessionStorage.getItem(KEY)): Promise<void> {
  try {
    const document = await new Client(null).get<Parameters<typeof offersOf>[0]>("/openapi.json");
    const offers = offersOf(document);
    const client = new Client(token, () => leave(token === null ? null : LOST));
    // Asked without the handler of lost tokens: a wrong one is told where it was given.
    const first = new Client(token);
    const me = offers.has("GET /me") ? await first.get<Me>("/me") : null;
    if (me === null) await first.get<Cameras>("/cameras");
    if (token !== null) sessionStorage.setItem(KEY, token);
    entry.set({ state: "in", session: new Session(client, offers, me) });
  } catch (thrown) {
    const error = asApiError(thrown);
    if (error.status === 401 || error.status === 429) {
      if (error.status === 401) sessionStorage.removeItem(KEY);
      entry.set({ state: "sign-in", error: token === null ? null : error });
    } else if (token !== null && entry.value.state === "sign-in") {
      entry.set({ state: "sign-in", error });
    } else {
      entry.set({ state: "away", error });
    }
  }
}

/** Sign out; an error says why, where it was not wanted. */
export function leave(error: ApiError | null): void {
  sessionStorage.removeItem(KEY);
  entry.set({
    state: "sign-in",
    error: error ?? null,
  });
}
