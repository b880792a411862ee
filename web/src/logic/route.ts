/** Addresses of pages: after the `#`, so that the server needs to know of none. */

export interface Route {
  page: string;
  /** What follows the page, an id for example; empty for none. */
  item: string;
  query: URLSearchParams;
}

/** Return the route of an address' fragment. */
export function parseRoute(hash: string): Route {
  const [path = "", query = ""] = hash.replace(/^#\/?/, "").split("?", 2);
  const [page = "", item = ""] = path.split("/").map(decode);
  return { page: page || "live", item, query: new URLSearchParams(query) };
}

/** Return the fragment of a page; values that are empty are left out. */
export function href(page: string, item: string | number = "", query: Record<string, string> = {}): string {
  const path = item === "" ? page : `${page}/${encodeURIComponent(String(item))}`;
  const kept = Object.entries(query).filter(([, value]) => value !== "");
  return `#/${path}${kept.length ? `?${new URLSearchParams(kept)}` : ""}`;
}

function decode(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}
