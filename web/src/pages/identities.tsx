/** Everybody who is kept, newest first. */

import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import type { Camera, Cameras, Identities, Identity } from "../api/types";
import { Afterwards } from "../logic/afterwards";
import { clock, nsOfField, plural, span } from "../logic/format";
import { freshIn, heard, listOf, restOf, type Narrowed, type Told } from "../logic/people";
import { href, type Route } from "../logic/route";
import { Ago } from "../parts/ago";
import { useLoaded, useSession } from "../parts/context";
import { PersonChip } from "../parts/person";
import { Empty, Failed, Loading } from "../parts/states";
import { Portrait } from "../parts/pictures";

const LIMIT = 24;
/** Stays grow without anything being told; but the audit notes each time that is asked. */
const EVERY_S = 60;
const NOBODY: ReadonlySet<number> = new Set();

interface Kept {
  path: string;
  list: Identities;
}

export function IdentitiesPage({ route }: { route: Route }) {
  const session = useSession();
  const { query } = route;
  const cameras = useLoaded<Cameras>("/cameras");
  const cursor = query.get("cursor") || null;
  const [sinceNs, untilNs] = [nsOfField(query.get("since") ?? ""), nsOfField(query.get("until") ?? "")];
  const narrowed: Narrowed = { camera: query.get("camera") || null, sinceNs, untilNs };
  const path = pathOf(narrowed, cursor);
  const { value, error, loading, reload } = useLoaded<Identities>(path, EVERY_S);
  const [kept, setKept] = useState<Kept | null>(null);
  const stood = kept?.path === path ? kept.list : null;
  const from = stood && value ? restOf(stood, value) : null;
  const rest = useLoaded<Identities>(from === null ? null : pathOf(narrowed, String(from)), EVERY_S);
  const list = value === null ? null : listOf(stood, value, rest.value);
  useEffect(() => setKept(list && { path, list }), [value, rest.value, path]);
  const [told, setTold] = useState<ReadonlySet<number>>(NOBODY);
  useEffect(() => setTold(NOBODY), [path]);
  const answers = [value, rest.value].filter((each) => each !== null);
  const fresh = list ? freshIn(list, answers, told, cursor === null ? null : Number(cursor)) : 0;
  const filtered = ["camera", "since", "until"].some((key) => query.get(key));
  const reloadAll = () => {
    reload();
    rest.reload();
  };
  const again = useRef(() => {});
  again.current = reloadAll;
  const afterwards = useMemo(() => new Afterwards(() => again.current()), []);
  useEffect(() => () => afterwards.end(), [afterwards]);
  const empty = list?.identities.length === 0;
  useEffect(
    () =>
      session.on((event) => {
        if (event.event !== "identity") return;
        const record = JSON.parse(event.data) as Told;
        setTold((old) => heard(old, record, narrowed));
        if (record.kind === "erased") again.current();
        else if (record.kind === "merged" || (empty && record.kind === "new")) afterwards.told();
      }),
    [session, path, empty],
  );
  const backwards = sinceNs !== null && untilNs !== null && BigInt(sinceNs) > BigInt(untilNs);
  const refresh = () => {
    setTold(NOBODY);
    setKept(null);
    reload();
    afterwards.told(); // whoever was told of a moment ago is not in the gallery yet
  };
  return (
    <>
      <header class="page-head">
        <h1>People</h1>
        <p>Newest ids first</p>
        <p role="status">
          {fresh > 0 && (
            <button type="button" class="link" onClick={refresh}>
              Show {fresh} new
            </button>
          )}
        </p>
      </header>
      <Filters query={query} cameras={cameras.value?.cameras ?? []} />
      {error && <Failed error={error} retry={reloadAll} />}
      {loading && <Loading what="people" />}
      {list && !list.identities.length && (
        <Empty title={!filtered ? "Nobody yet" : backwards ? "“Seen since” is later than “Seen until”" : "Nobody fits"}>
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
      {list && (list.next !== null || cursor !== null) && (
        <nav class="pager" aria-label="Pages of people">
          {cursor !== null && <a class="button" href={pageHref(query, null)}>Newest</a>}
          {list.next !== null && <a class="button" href={pageHref(query, list.next)}>Older</a>}
        </nav>
      )}
    </>
  );
}

function pathOf({ camera, sinceNs, untilNs }: Narrowed, cursor: string | null): string {
  const asked = new URLSearchParams({ limit: String(LIMIT) });
  const given = { camera, cursor, since_ns: sinceNs, until_ns: untilNs };
  for (const [key, value] of Object.entries(given)) if (value !== null) asked.set(key, value);
  return `/identities?${asked}`;
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
  const form = useRef<HTMLFormElement>(null);
  useEffect(() => {
    // Only now: what somebody is at is not taken from under their hands when people are told of.
    for (const field of form.current?.elements ?? []) {
      if (field instanceof HTMLInputElement || field instanceof HTMLSelectElement) field.value = query.get(field.name) ?? "";
    }
  }, [query.toString()]);
  return (
    <form class="filters" aria-label="Filter people" ref={form} onSubmit={apply}>
      <label>
        Camera
        <select name="camera">
          <option value="">All</option>
          {names.map((each) => <option key={each} value={each}>{each}</option>)}
        </select>
      </label>
      <label>
        Seen since
        <input type="datetime-local" name="since" />
      </label>
      <label>
        Seen until
        <input type="datetime-local" name="until" />
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
