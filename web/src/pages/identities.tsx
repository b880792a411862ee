/** Everybody who is kept, newest first. */

import { useEffect, useState } from "preact/hooks";
import type { Camera, Cameras, Identities, Identity } from "../api/types";
import { ago, clock, exact, nsOfField, plural, span } from "../logic/format";
import { href, type Route } from "../logic/route";
import { useLoaded, useSession } from "../parts/context";
import { PersonChip } from "../parts/person";
import { Empty, Failed, Loading } from "../parts/states";
import { Portrait } from "../parts/pictures";

const LIMIT = 24;

export function IdentitiesPage({ route }: { route: Route }) {
  const session = useSession();
  const { query } = route;
  const [fresh, setFresh] = useState(0);
  const cameras = useLoaded<Cameras>("/cameras");
  const asked = new URLSearchParams({ limit: String(LIMIT) });
  for (const key of ["camera", "cursor"]) {
    const value = query.get(key);
    if (value) asked.set(key, value);
  }
  for (const [key, field] of [["since_ns", "since"], ["until_ns", "until"]] as const) {
    const ns = nsOfField(query.get(field) ?? "");
    if (ns !== null) asked.set(key, ns);
  }
  const { value, error, loading, reload } = useLoaded<Identities>(`/identities?${asked}`);
  const filtered = ["camera", "since", "until"].some((key) => query.get(key));
  useEffect(
    () =>
      session.on((event) => {
        if (event.event !== "identity") return;
        const { kind } = JSON.parse(event.data) as { kind: string };
        if (kind === "new") setFresh((old) => old + 1);
        else if (kind === "erased") reload();
      }),
    [session],
  );
  const refresh = () => {
    setFresh(0);
    reload();
  };
  return (
    <>
      <header class="page-head">
        <h1>People</h1>
        <p role="status">
          {fresh > 0 && !query.get("cursor") && (
            <button type="button" class="link" onClick={refresh}>
              Show {fresh} new
            </button>
          )}
        </p>
      </header>
      <Filters key={query.toString()} query={query} cameras={cameras.value?.cameras ?? []} />
      {error && <Failed error={error} retry={reload} />}
      {loading && <Loading what="people" />}
      {value && !value.identities.length && (
        <Empty title={filtered ? "Nobody fits" : "Nobody yet"}>
          {filtered ? <a href={href("identities")}>Show everybody</a> : "People appear here once a camera has seen them well."}
        </Empty>
      )}
      {value && value.identities.length > 0 && (
        <ul class="cards people">
          {value.identities.map((each) => (
            <PersonCard key={each.global_id} person={each} />
          ))}
        </ul>
      )}
      {value && (value.next !== null || query.get("cursor")) && (
        <nav class="pager" aria-label="Pages of people">
          {query.get("cursor") && <a class="button" href={pageHref(query, null)}>Newest</a>}
          {value.next !== null && <a class="button" href={pageHref(query, value.next)}>Older</a>}
        </nav>
      )}
    </>
  );
}

function pageHref(query: URLSearchParams, cursor: number | null): string {
  const kept = { ...Object.fromEntries(query), cursor: cursor === null ? "" : String(cursor) };
  return href("identities", "", kept);
}

function Filters({ query, cameras }: { query: URLSearchParams; cameras: Camera[] }) {
  const apply = (event: Event) => {
    event.preventDefault();
    const form = new FormData(event.currentTarget as HTMLFormElement);
    const text = (name: string) => String(form.get(name) ?? "");
    location.hash = href("identities", "", { camera: text("camera"), since: text("since"), until: text("until") });
  };
  const camera = query.get("camera") ?? "";
  const names = cameras.map((each) => each.id);
  if (camera && !names.includes(camera)) names.push(camera);
  return (
    <form class="filters" aria-label="Filter people" onSubmit={apply}>
      <label>
        Camera
        <select name="camera">
          <option value="">All</option>
          {names.map((each) => <option key={each} value={each} selected={each === camera}>{each}</option>)}
        </select>
      </label>
      <label>
        Seen since
        <input type="datetime-local" name="since" value={query.get("since") ?? ""} />
      </label>
      <label>
        Seen until
        <input type="datetime-local" name="until" value={query.get("until") ?? ""} />
      </label>
      <button type="submit">Filter</button>
      {query.toString() && <a href={href("identities")}>Clear</a>}
    </form>
  );
}

function PersonCard({ person }: { person: Identity }) {
  return (
    <li class="card person-card">
      <Portrait id={person.global_id} picture={person.picture} />
      <div>
        <h2><PersonChip id={person.global_id} /></h2>
        <p title={exact(person.last_ns)}>seen {ago(person.last_ns)}</p>
        <p class="dim">
          since {clock(person.first_ns)} ({span((person.last_ns - person.first_ns) / 1e9)}),{" "}
          {plural(person.tracklets, "stay")}
        </p>
        <p class="tags">{person.cameras.map((each) => <span key={each} class="tag">{each}</span>)}</p>
        {person.state === "forgotten" && <p class="dim">no longer recognised</p>}
      </div>
    </li>
  );
}
