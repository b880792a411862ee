/** What stands where something is awaited, missing, or went wrong. */

import type { ComponentChildren } from "preact";
import type { ApiError } from "../api/client";

/** Something is on its way. */
export function Loading({ what }: { what: string }) {
  return (
    <p class="state" role="status">
      <span class="spinner" aria-hidden="true" /> Loading {what}…
    </p>
  );
}

/** There is nothing, and that is no error. */
export function Empty({ title, children }: { title: string; children?: ComponentChildren }) {
  return (
    <div class="state">
      <p class="state-title">{title}</p>
      {children && <p>{children}</p>}
    </div>
  );
}

/** What went wrong, as the server tells it: what was found, what was expected, what to do. */
export function Failed({ error, retry }: { error: ApiError; retry?: () => void }) {
  return (
    <div class="state failed" role="alert">
      <p class="state-title">{sentence(error.found)}</p>
      <dl>
        {error.expected && (
          <>
            <dt>Expected</dt>
            <dd>{error.expected}</dd>
          </>
        )}
        {advice(error) && (
          <>
            <dt>What to do</dt>
            <dd>{advice(error)}</dd>
          </>
        )}
      </dl>
      {retry && (
        <button type="button" onClick={retry}>
          Try again
        </button>
      )}
    </div>
  );
}

/** The server has no such route. */
export function NotOffered({ what, route }: { what: string; route: string }) {
  return (
    <div class="state" data-not-offered={route}>
      <p class="state-title">This server does not offer {what}.</p>
      <p>
        It has no <code>{route}</code>. A newer crosscam may.
      </p>
    </div>
  );
}

/** The token's role does not do. */
export function NotAllowed({ what, role }: { what: string; role: string }) {
  return (
    <div class="state">
      <p class="state-title">Your token may not see {what}.</p>
      <p>
        It takes the role {role}: <code>crosscam token create --role {role}</code>
      </p>
    </div>
  );
}

/** Return text that begins like a sentence; a command stays as it is typed. */
export function sentence(text: string): string {
  return text.startsWith("crosscam ") ? text : text.charAt(0).toUpperCase() + text.slice(1);
}

/** Return what to do, for whoever sits before the console: routes of the interface are no help there. */
export function advice(error: ApiError): string {
  return /^[A-Z]+ \/api\/|openapi\.json/.test(error.fix) ? "" : error.fix;
}
