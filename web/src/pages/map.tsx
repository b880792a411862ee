/** Where the cameras are, and how long people take between them: learned, or given by hand. */

import { useEffect, useState } from "preact/hooks";
import { asApiError, type ApiError } from "../api/client";
import type { Link, Topology } from "../api/types";
import { span } from "../logic/format";
import { bodyOf, placed, type Placed } from "../logic/places";
import type { Session } from "../logic/session";
import { useLoaded, useSession } from "../parts/context";
import { MapDrawing } from "../parts/drawing";
import { LinkTable } from "../parts/links";
import { Empty, Failed, Loading, NotOffered } from "../parts/states";

interface Draft {
  places: Placed[];
  links: Link[];
}

/** What somebody has not saved yet is there again when they come back to the page. */
const drafts = new WeakMap<Session, Draft>();

export function MapPage() {
  const session = useSession();
  const offered = session.offer("GET /topology");
  const { value, error, loading, reload } = useLoaded<Topology>(offered ? "/topology" : null, 60);
  return (
    <>
      <header class="page-head"><h1>Map</h1></header>
      {!offered && <NotOffered what="a map of its cameras" route="GET /topology" />}
      {error && <Failed error={error} retry={reload} />}
      {loading && <Loading what="the map" />}
      {value && !value.cameras.length && <Empty title="No camera that your token may know of" />}
      {value && value.cameras.length > 0 && <Editor topology={value} reload={reload} />}
    </>
  );
}

function Editor({ topology, reload }: { topology: Topology; reload: () => void }) {
  const session = useSession();
  const editable = session.may("admin") && session.offer("PUT /topology");
  const [places, setPlaces] = useState<Placed[]>(() => drafts.get(session)?.places ?? placed(topology.cameras));
  const [links, setLinks] = useState<Link[]>(() => drafts.get(session)?.links ?? topology.links);
  const [changed, setChanged] = useState(() => drafts.has(session));
  const [told, setTold] = useState("");
  const [error, setError] = useState<ApiError | null>(null);
  useEffect(() => {
    if (changed) return; // what somebody is at is not taken from under their hands
    setPlaces(placed(topology.cameras));
    setLinks(topology.links);
  }, [topology]);
  useEffect(() => {
    if (!changed) return undefined;
    const warn = (event: BeforeUnloadEvent) => event.preventDefault();
    addEventListener("beforeunload", warn);
    return () => removeEventListener("beforeunload", warn);
  }, [changed]);
  useEffect(() => {
    if (changed) drafts.set(session, { places, links });
    else drafts.delete(session);
  }, [session, changed, places, links]);
  const edit = () => {
    setChanged(true);
    setTold("");
  };
  const save = () => {
    setError(null);
    session.client
      .send("PUT", "/topology", bodyOf(places, links))
      .then(() => {
        setChanged(false);
        setTold("Saved.");
        reload();
      })
      .catch((thrown: unknown) => setError(asApiError(thrown)));
  };
  const undo = () => {
    setPlaces(placed(topology.cameras));
    setLinks(topology.links);
    setChanged(false);
    setTold("Changes dropped.");
  };
  return (
    <>
      <p class="dim">
        {editable
          ? "Drag a camera, or choose one with Tab and move it with the arrow keys. "
          : "Only admins can change it. "}
        Lines are ways that people took, with the time that half of them needed; dashed ones were given by hand.
      </p>
      {editable && (
        <div class="save">
          <button type="button" class="primary" disabled={!changed} onClick={save}>Save</button>
          <button type="button" disabled={!changed} onClick={undo}>Drop changes</button>
          <span role="status">{changed ? "Not saved yet." : told}</span>
        </div>
      )}
      {error && <Failed error={error} />}
      <MapDrawing
        places={places}
        links={links}
        onMove={editable ? (next) => { setPlaces(next); edit(); } : null}
      />
      <LinkTable
        cameras={places.map((each) => each.id)}
        links={links}
        span={span}
        onChange={editable ? (next) => { setLinks(next); edit(); } : null}
      />
    </>
  );
}
