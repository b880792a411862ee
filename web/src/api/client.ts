/** Requests to the HTTP interface: the token goes in a header, errors come back as they were told. */

/** An error as the interface tells it. */
export class ApiError extends Error {
  constructor(
    readonly status: number,
    readonly error: string,
    readonly found: string,
    readonly expected = "",
    readonly fix = "",
  ) {
    super(found);
  }
}

/** What the interface offers, by method and path, out of its own description. */
export type Offers = ReadonlySet<string>;

/** Return the offers of an OpenAPI document: `GET /identities/{}` and the like. */
export function offersOf(document: { paths?: Record<string, Record<string, unknown>> }): Offers {
  const found = new Set<string>();
  for (const [path, methods] of Object.entries(document.paths ?? {})) {
    const plain = path.replace(/^\/api\/v1/, "").replace(/\{[^}]*\}/g, "{}");
    for (const method of Object.keys(methods)) found.add(`${method.toUpperCase()} ${plain}`);
  }
  return found;
}

/** Return the error that an answer tells of, whatever shape it has. */
export async function errorOf(answer: Response): Promise<ApiError> {
  let told: Partial<Record<"error" | "found" | "expected" | "fix", string>> = {};
  try {
    told = (await answer.json()) as typeof told;
  } catch {
    // Something before the interface answered, a proxy for example.
  }
  return new ApiError(
    answer.status,
    told.error ?? "refused",
    told.found ?? `the server answered ${answer.status} ${answer.statusText}`.trim(),
    told.expected,
    told.fix ?? (told.error ? "" : "see whether a proxy stands before the server"),
  );
}

/** Return an error that was thrown as one that can be shown. */
export function asApiError(thrown: unknown): ApiError {
  if (thrown instanceof ApiError) return thrown;
  if (thrown instanceof TypeError) {
    return new ApiError(0, "away", "the server does not answer", "a running crosscam", "wait: it is tried again");
  }
  return new ApiError(0, "internal", String(thrown));
}

/** Asks with a token, or without. */
export class Client {
  /**
   * @param token - What to show; null for servers without tokens.
   * @param onUnauthorised - Called when the token does not do (any more).
   * @param base - Where the interface is, relative to the page.
   */
  constructor(
    readonly token: string | null,
    private readonly onUnauthorised: () => void = () => undefined,
    private readonly base = "api/v1",
  ) {}

  /** Ask, and return the answer of a request that went well. Throws `ApiError`. */
  async ask(path: string, init: RequestInit = {}): Promise<Response> {
    const headers = new Headers(init.headers);
    if (this.token !== null) {
      // A header cannot hold others; to `fetch` that is as if the server was away.
      if (/[^\x21-\x7e]/.test(this.token)) {
        throw new ApiError(401, "unauthorised", "a token has letters, digits and signs of ASCII only, without spaces");
      }
      headers.set("Authorization", `Bearer ${this.token}`);
    }
    const answer = await fetch(this.base + path, {
      ...init,
      headers,
      cache: "no-store",
      credentials: "omit",
      redirect: "error",
      referrerPolicy: "no-referrer",
    });
    if (answer.ok) return answer;
    if (answer.status === 401) this.onUnauthorised();
    throw await errorOf(answer);
  }

  /** Return the JSON of an answer. */
  async get<T>(path: string, signal?: AbortSignal): Promise<T> {
    return (await (await this.ask(path, signal ? { signal } : {})).json()) as T;
  }

  /** Send JSON, or nothing, and return the JSON of the answer. */
  async send<T>(method: "POST" | "PUT" | "DELETE", path: string, body?: unknown): Promise<T> {
    const init: RequestInit = { method };
    if (body !== undefined) {
      init.body = JSON.stringify(body);
      init.headers = { "Content-Type": "application/json" };
    }
    return (await (await this.ask(path, init)).json()) as T;
  }
}
