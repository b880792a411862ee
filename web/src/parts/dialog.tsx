/** A question before something that cannot be undone; focus goes in, and back where it was. */

import type { ComponentChildren } from "preact";
import { useEffect, useId, useRef, useState } from "preact/hooks";
import { asApiError, type ApiError } from "../api/client";
import { advice, sentence } from "./states";

interface Props {
  title: string;
  action: string;
  danger?: boolean;
  ready?: boolean;
  children: ComponentChildren;
  onAction: () => Promise<void>;
  onClose: () => void;
}

export function Dialog({ title, action, danger = false, ready = true, children, onAction, onClose }: Props) {
  const dialog = useRef<HTMLDialogElement>(null);
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState<ApiError | null>(null);
  const id = useId();
  useEffect(() => {
    const before = document.activeElement;
    dialog.current?.showModal();
    return () => {
      if (before instanceof HTMLElement && before.isConnected) before.focus();
    };
  }, []);
  const submit = (event: Event) => {
    event.preventDefault();
    if (busy || !ready) return;
    setBusy(true);
    setError(null);
    onAction().then(onClose).catch((thrown: unknown) => {
      setError(asApiError(thrown));
      setBusy(false);
    });
  };
  return (
    <dialog ref={dialog} aria-labelledby={id} onCancel={(event) => busy && event.preventDefault()} onClose={onClose}>
      <form onSubmit={submit}>
        <h2 id={id}>{title}</h2>
        {children}
        {error && (
          <p class="field-error" role="alert">
            {sentence(error.found)}.{error.expected && ` Expected: ${error.expected}.`}
            {advice(error) && ` ${sentence(advice(error))}.`}
          </p>
        )}
        <div class="dialog-end">
          <button type="button" disabled={busy} onClick={() => dialog.current?.close()}>Cancel</button>
          <button type="submit" class={danger ? "danger" : "primary"} disabled={busy || !ready}>
            {busy ? "Just a moment…" : action}
          </button>
        </div>
      </form>
    </dialog>
  );
}
