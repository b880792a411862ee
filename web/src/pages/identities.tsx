/** Everybody who is kept, newest first. */

import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import type { Camera, Cameras, Identities, Identity } from "../api/types";
import { Afterwards } from "../logic/afterwards";
import { clock, nsOfField, plural, span } from "../logic/format";
import { freshIn, listOf } from "../logic/people";
import { href, type Route } from "../logic/route";
import { Ago } from "../parts/ago";
import { useLoaded, useSession } from "../parts/context";
import { PersonChip } from "../parts/person";
import { Empty, Failed, Loading } from "../parts/states";
import { Portrait } from "../parts/pictures";

const LIMIT = 24;
/** Stays grow without anything being told; but the audit notes each time that is asked. */
const EVERY_S = 60;

interface Kept {
  path: string;
  list: Identities;
}

export function IdentitiesPage({ route }: { route: Route }) {
  const session = useSession();
  const { query } = route;
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
  const path = `/identities?${asked}`;
  const { value, error, loading, reload } = useLoaded<Identities>(path, EVERY_S);
  const [kept, setKept] = useState<Kept | null>(null);
  const list = value === null ? null : listOf(kept?.path === path ? kept.list : null, value);
  useEffect(() => setKept(list && { path, list }), [value, path]);
  const [told, setTold] = useState(0);
  const fresh = list && value && !query.get("cursor") ? Math.max(told, freshIn(list, value)) : 0;
  const filtered = ["camera", "since", "until"].some((key) => query.get(key));
  const latest = useRef(reload);
  latest.current = reload;
  const again = useMemo(() => new Afterwards(() => latest.current()), []);
  useEffect(() => () => again.end(), [again]);
  useEffect(
    () =>
      session.on((event) => {
        if (event.event !== "identity") return;
        const { kind } = JSON.parse(event.data) as { kind: string };
        if (kind === "new") setTold((old) => old + 1);
        else if (kind === "erased") reload();
        else if (kind === "merged") again.told();
      }),
    [session],
  );
  const refresh = () => {
    setTold(0);
    setKept(null);
    reload();
  };
  return (
    <>
      <header class="page-head">
        <h1>People</h1>
        <p role="status">
          {fresh > 0 && (
            <button type="button" class="link" onClick={refresh}>
              Show {fresh} new
            </button>
          )}
        </p>
      </header>
      <Filters key={query.toString()} query={query} cameras={cameras.value?.cameras ?? []} />
      {error && <Failed error={error} retry={reload} />}
      {loading && <Loading what="people" />}
      {list && !list.identities.length && (
        <Empty title={filtered ? "Nobody fits" : "Nobody yet"}>
          {filtered ? <a href={href("identities")}>Show everybody</a> : "People appear here once a camera has seen them well."}
        </Empty>
      )}
      {list && list.identities.length > 0 && (
        <ul class="cards people">
          {list.identities.map((each) => (
            <PersonCard key={each.global_id} person={each} />
          ))}
        </ul>
      )}
      {list && (list.next !== null || query.get("cursor")) && (
        <nav class="pager" aria-label="Pages of people">
          {query.get("cursor") && <a class="button" href={pageHref(query, null)}>Newest</a>}
          {list.next !== null && <a class="button" href={pageHref(query, list.next)}>Older</a>}
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
        <p>seen <Ago ns={person.last_ns} /></p>
        <p class="dim">
          since {clock(person.first_ns)} ({span((person.last_ns - person.first_ns) / 1e9)}),{" "}
          <span class="whole">{plural(person.tracklets, "stay")}</span>
        </p>
        <p class="tags">{person.cameras.map((each) => <span key={each} class="tag">{each}</span>)}</p>
        {person.state === "forgotten" && <p class="dim">no longer recognised</p>}
      </div>
    </li>
  );
}
