/** Somebody: where they were, what they look like, what happened to their id. */

import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import type { IdentityPage } from "../api/types";
import { Afterwards } from "../logic/afterwards";
import { colourOf } from "../logic/colour";
import { clock, exact, plural, span } from "../logic/format";
import { idOf } from "../logic/people";
import { href, type Route } from "../logic/route";
import { Ago } from "../parts/ago";
import { useLoaded, useSession } from "../parts/context";
import { EventList } from "../parts/events";
import { PersonActions } from "../parts/actions";
import { ContactSheet } from "../parts/sheet";
import { Empty, Failed, Loading } from "../parts/states";
import { JourneyTimeline } from "../parts/timeline";

/** A stay grows without anything being told; but the audit notes each time that is asked. */
const EVERY_S = 60;

export function PersonPage({ route }: { route: Route }) {
  const session = useSession();
  const id = idOf(route.item);
  const { value, error, loading, reload } = useLoaded<IdentityPage>(id === null ? null : `/identities/${id}`, EVERY_S);
  const [gone, setGone] = useState(false);
  const shown = useRef(id);
  shown.current = value?.global_id ?? id;
  const again = useMemo(() => new Afterwards(reload), []);
  useEffect(() => () => again.end(), [again]);
  useEffect(
    () =>
      session.on((event) => {
        if (event.event !== "identity") return;
        const told = JSON.parse(event.data) as { kind: string; global_id: number; other_id: number | null };
        if (told.kind === "erased" && told.global_id === shown.current) setGone(true);
        else if ([id, shown.current].some((each) => each !== null && [told.global_id, told.other_id].includes(each))) again.told();
      }),
    [session, id, again],
  );
  const missing = error?.status === 404; // as somebody is who was seen, or split off, just now
  useEffect(() => {
    if (missing) again.told();
  }, [missing, again]);
  const everybody = <a href={href("identities")}>Everybody</a>;
  if (value && !gone) {
    return (
      <>
        {error && <Failed error={error} retry={reload} />}
        <Found person={value} />
      </>
    );
  }
  return (
    <>
      <header class="page-head"><h1>Person {route.item}</h1></header>
      {id === null && <Empty title={`“${route.item}” is no id of a person`}>{everybody}</Empty>}
      {gone && <Empty title={`Person ${id} was erased`}>{everybody}</Empty>}
      {!gone && loading && <Loading what={`person ${id}`} />}
      {!gone && missing && <Empty title={`Nobody who is kept has the id ${id}`}>{everybody}</Empty>}
      {!gone && error && !missing && <Failed error={error} retry={reload} />}
    </>
  );
}

function Found({ person }: { person: IdentityPage }) {
  return (
    <article class="person-page" style={{ "--person": colourOf(person.global_id) }}>
      <header class="page-head">
        <span class="swatch" aria-hidden="true" />
        <h1>Person {person.global_id}</h1>
        <PersonActions person={person} />
      </header>
      {person.merged && <p class="notice">{person.asked_for} was merged into {person.global_id}: they are the same person.</p>}
      <dl class="figures">
        <div><dt>Last seen</dt><dd><Ago ns={person.last_ns} /></dd></div>
        <div><dt>First seen</dt><dd title={exact(person.first_ns)}>{clock(person.first_ns)}</dd></div>
        <div><dt>Stays</dt><dd>{person.tracklets}</dd></div>
        <div><dt>State</dt><dd>{person.state === "known" ? "would be known again" : "no longer recognised"}</dd></div>
        {person.names.length > 0 && <div><dt>Also was</dt><dd>{person.names.join(", ")}</dd></div>}
        <div class="broad"><dt>Cameras</dt><dd class="tags">{person.cameras.map((each) => <span key={each} class="tag">{each}</span>)}</dd></div>
      </dl>
      <section aria-labelledby="journey">
        <h2 id="journey">Journey</h2>
        <JourneyTimeline journey={person.journey} />
        <JourneyTable person={person} />
      </section>
      <ContactSheet id={person.global_id} key={`sheet-${person.tracklets}`} />
      <section aria-labelledby="events">
        <h2 id="events">What happened to the id</h2>
        <EventList events={person.events} self={person.global_id} />
      </section>
    </article>
  );
}

function JourneyTable({ person }: { person: IdentityPage }) {
  const session = useSession();
  const stays = [...person.journey].reverse();
  const searches = session.may("operator") && session.offer("GET /identities/{}/similar");
  return (
    <details class="stays">
      <summary>{plural(stays.length, "stay")} as a table</summary>
      <div class="table-wrap" tabIndex={0} role="region" aria-label="Stays">
        <table>
          <thead><tr><th scope="col">Camera</th><th scope="col">From</th><th scope="col">For</th>{searches && <th scope="col">Others</th>}<th scope="col">Pictures</th><th scope="col">Track</th></tr></thead>
          <tbody>
            {stays.map((each) => (
              <tr key={`${each.camera}/${each.track}`}>
                <td>{each.camera}</td>
                <td title={exact(each.start_ns)}>{clock(each.start_ns)}</td>
                <td>{span((each.end_ns - each.start_ns) / 1e9)}</td>
                {searches && (
                  <td>
                    <a href={href("search", "", { like: String(person.global_id), stay: `${each.camera}/${each.track}` })}>
                      alike<span class="visually-hidden"> in {each.camera} at {clock(each.start_ns)}</span>
                    </a>
                  </td>
                )}
                <td>{each.observations}</td>
                <td>{each.track}</td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
    </details>
  );
}

