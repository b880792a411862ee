/** The session, for every part of a page. */

import { createContext } from "preact";
import { useContext, useEffect, useState } from "preact/hooks";
import { asApiError, type ApiError } from "../api/client";
import type { Session } from "../logic/session";
import { useStore } from "../logic/store";

export const SessionContext = createContext<Session | null>(null);

/** Return the session that a part is shown in. */
export function useSession(): Session {
  const found = useContext(SessionContext);
  if (found === null) throw new Error("this part is only shown when somebody is signed in");
  return found;
}

export interface Loaded<T> {
  value: T | null;
  error: ApiError | null;
  loading: boolean;
  reload: () => void;
}

/**
 * Load something from the server; anew when its path changes, and when something was missed.
 *
 * @param path - What to ask for; null for nothing yet.
 * @param every - Seconds after which it is asked for again while the page is seen; 0 for never.
 */
export function useLoaded<T>(path: string | null, every = 0): Loaded<T> {
  const session = useSession();
  const missed = useStore(session.missed);
  const [turn, setTurn] = useState(0);
  const [found, setFound] = useState<{ path: string | null; value: T | null; error: ApiError | null }>({
    path: null,
    value: null,
    error: null,
  });
  useEffect(() => {
    if (path === null) return undefined;
    const ended = new AbortController();
    let timer = 0;
    const load = () => {
      if (document.hidden) {
        timer = window.setTimeout(load, 1000);
        return;
      }
      session.client
        .get<T>(path, ended.signal)
        .then((value) => setFound({ path, value, error: null }))
        .catch((thrown: unknown) => {
          if (ended.signal.aborted) return;
          const error = asApiError(thrown);
          setFound((old) => ({ path, value: old.path === path ? old.value : null, error }));
        })
        .finally(() => {
          if (every && !ended.signal.aborted) timer = window.setTimeout(load, every * 1000);
        });
    };
    load();
    return () => {
      ended.abort();
      clearTimeout(timer);
    };
  }, [session, path, every, turn, missed]);
  const current = found.path === path;
  return {
    value: current ? found.value : null,
    error: current ? found.error : null,
    loading: path !== null && !current,
    reload: () => setTurn((old) => old + 1),
  };
}
