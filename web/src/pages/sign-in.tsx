/** Asks for a token. */

import { useEffect, useRef, useState } from "preact/hooks";
import type { ApiError } from "../api/client";
import { enter } from "../logic/session";
import { Icon } from "../parts/icons";
import { sentence } from "../parts/states";
import { ThemeSwitch } from "../parts/theme";

export function SignIn({ error }: { error: ApiError | null }) {
  const [token, setToken] = useState("");
  const [busy, setBusy] = useState(false);
  const field = useRef<HTMLInputElement>(null);
  useEffect(() => {
    document.title = "Sign in · crosscam";
    field.current?.focus();
  }, []);
  useEffect(() => {
    if (error) field.current?.select();
  }, [error]);
  const submit = async (event: Event) => {
    event.preventDefault();
    if (!token.trim() || busy) return;
    setBusy(true);
    await enter(token.trim());
    setBusy(false);
  };
  return (
    <main class="alone">
      <form class="sign-in" onSubmit={(event) => void submit(event)}>
        <h1>
          <Icon name="mark" /> crosscam
        </h1>
        <label for="token">Token</label>
        <input
          id="token"
          ref={field}
          type="password"
          autocomplete="current-password"
          spellcheck={false}
          required
          value={token}
          aria-invalid={error !== null}
          aria-describedby={error ? "token-error token-help" : "token-help"}
          onInput={(event) => setToken(event.currentTarget.value)}
        />
        {error && (
          <p id="token-error" class="field-error" role="alert">
            {sentence(error.found)}.{error.status !== 401 && error.fix && ` ${sentence(error.fix)}.`}
          </p>
        )}
        <button type="submit" class="primary" disabled={busy}>
          {busy ? "Signing in…" : "Sign in"}
        </button>
        <p id="token-help" class="help">
          <code>crosscam token create</code> makes one. It is kept until this tab is closed.
        </p>
      </form>
      <div class="corner">
        <ThemeSwitch />
      </div>
    </main>
  );
}
