/** What can be done with somebody: found elsewhere, exported, merged, split, erased. */

import { useEffect, useState } from "preact/hooks";
import type { Changed, Erased, IdentityPage, Pictures, Sight } from "../api/types";
import { asApiError, type ApiError } from "../api/client";
import { clock, plural, span } from "../logic/format";
import { href } from "../logic/route";
import { settled } from "../logic/settled";
import { Ago } from "./ago";
import { useLoaded, useSession } from "./context";
import { Dialog } from "./dialog";
import { PersonChip } from "./person";
import { Portrait, StoredPicture } from "./pictures";
import { advice, sentence } from "./states";

type Open = "erase" | "merge" | "split" | null;

export function PersonActions({ person }: { person: IdentityPage }) {
  const session = useSession();
  const [open, setOpen] = useState<Open>(null);
  const [error, setError] = useState<ApiError | null>(null);
  const close = () => setOpen(null);
  const operator = session.may("operator");
  return (
    <div class="actions" role="group" aria-label="Actions">
      {operator && session.offer("GET /identities/{}/similar") && (
        <a class="button" href={href("search", "", { like: String(person.global_id) })}>Find similar</a>
      )}
      {operator && session.offer("POST /identities/{}/merge") && (
        <button type="button" onClick={() => setOpen("merge")}>Merge</button>
      )}
      {operator && session.offer("POST /identities/{}/split") && person.journey.length > 1 && (
        <button type="button" onClick={() => setOpen("split")}>Split</button>
      )}
      {operator && (
        <button
          type="button"
          onClick={() => {
            setError(null);
            download(session, person.global_id).catch((thrown: unknown) => setError(asApiError(thrown)));
          }}
        >
          Export
        </button>
      )}
      {session.may("admin") && (
        <button type="button" class="danger" onClick={() => setOpen("erase")}>Erase</button>
      )}
      {error && <p class="field-error" role="alert">{sentence(error.found)}. {sentence(advice(error))}</p>}
      {open === "erase" && <Erase person={person} onClose={close} />}
      {open === "merge" && <Merge person={person} onClose={close} />}
      {open === "split" && <Split person={person} onClose={close} />}
    </div>
  );
}

/** Save the export as it comes: numbers of 64 bits would lose digits on their way through here. */
async function download(session: ReturnType<typeof useSession>, id: number): Promise<void> {
  const answer = await session.client.ask(`/identities/${id}/export`);
  const url = URL.createObjectURL(await answer.blob());
  const link = document.createElement("a");
  link.href = url;
  link.download = `person-${id}.json`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}

function Erase({ person, onClose }: { person: IdentityPage; onClose: () => void }) {
  const { client } = useSession();
  const [typed, setTyped] = useState("");
  const id = person.global_id;
  return (
    <Dialog
      title={`Erase person ${id}?`}
      action="Erase for ever"
      danger
      ready={typed.trim() === String(id)}
      onClose={onClose}
      onAction={async () => {
        await client.send<Erased>("DELETE", `/identities/${id}`);
        location.hash = href("identities");
      }}
    >
      <p>
        {plural(person.tracklets, "stay")}, looks and pictures are overwritten, also under ids that were merged. Seen again,
        they are somebody new. This cannot be undone.
      </p>
      <label>
        Type {id} to go on
        <input inputMode="numeric" autocomplete="off" value={typed} onInput={(event) => setTyped(event.currentTarget.value)} />
      </label>
    </Dialog>
  );
}

function Merge({ person, onClose }: { person: IdentityPage; onClose: () => void }) {
  const { client } = useSession();
  const [into, setInto] = useState("");
  const right = /^[1-9]\d*$/.test(into.trim()) && Number(into) !== person.global_id;
  const asked = useLater(right ? Number(into) : null);
  const other = useLoaded<IdentityPage>(asked === null ? null : `/identities/${asked}`);
  return (
    <Dialog
      title={`Merge person ${person.global_id} into another`}
      action="Merge"
      ready={right}
      onClose={onClose}
      onAction={async () => {
        const { global_id } = await client.send<Changed>(
          "POST",
          `/identities/${person.global_id}/merge`,
          { into: Number(into) },
        );
        await settled(client, person.global_id, global_id);
        location.hash = href("identities", global_id);
      }}
    >
      <p>Both are the same person: everything of {person.global_id} goes to the other id. No review undoes it; splitting does.</p>
      <label>
        The other id
        <input inputMode="numeric" autocomplete="off" value={into} onInput={(event) => setInto(event.currentTarget.value)} />
      </label>
      <div class="other">
        {other.value && (
          <>
            <Portrait id={other.value.global_id} picture={other.value.picture} />
            <p>
              <PersonChip id={other.value.global_id} /> seen <Ago ns={other.value.last_ns} />
              <br />
              {other.value.cameras.join(", ")}
            </p>
          </>
        )}
        {other.error?.status === 404 && <p role="status">Nobody who is kept has this id.</p>}
      </div>
    </Dialog>
  );
}

/** Return a value once it has stayed the same for a moment: who is not meant is not asked for. */
function useLater<T>(value: T): T | null {
  const [later, set] = useState<T | null>(null);
  useEffect(() => {
    set(null);
    const timer = setTimeout(() => set(() => value), 400);
    return () => clearTimeout(timer);
  }, [value]);
  return later;
}

function Split({ person, onClose }: { person: IdentityPage; onClose: () => void }) {
  const session = useSession();
  const { client } = session;
  const offered = session.offer("GET /identities/{}/pictures");
  const { value } = useLoaded<Pictures>(offered ? `/identities/${person.global_id}/pictures` : null);
  const [chosen, setChosen] = useState<ReadonlySet<string>>(new Set());
  const name = (each: { camera: string; track: number }) => `${each.camera}/${each.track}`;
  const toggle = (key: string) => {
    const next = new Set(chosen);
    if (!next.delete(key)) next.add(key);
    setChosen(next);
  };
  return (
    <Dialog
      title={`Split person ${person.global_id}`}
      action={`Split off ${plural(chosen.size, "stay")}`}
      ready={chosen.size > 0 && chosen.size < person.journey.length}
      onClose={onClose}
      onAction={async () => {
        const tracklets = person.journey
          .filter((each) => chosen.has(name(each)))
          .map(({ camera, track }) => ({ camera, track }));
        const { global_id } = await client.send<Changed>(
          "POST",
          `/identities/${person.global_id}/split`,
          { tracklets },
        );
        await settled(client, global_id, global_id);
        location.hash = href("identities", global_id);
      }}
    >
      <p>Choose the stays of somebody else; they get an id of their own. No review undoes it; merging does.</p>
      <fieldset class="choices">
        <legend>Stays</legend>
        {person.journey.map((each) => (
          <label key={name(each)} class="choice">
            <input type="checkbox" checked={chosen.has(name(each))} onChange={() => toggle(name(each))} />
            {offered && <StoredPicture name={pictureIn(value, each)} alt="" />}
            {each.camera}, {clock(each.start_ns)}, {span((each.end_ns - each.start_ns) / 1e9)}
          </label>
        ))}
      </fieldset>
    </Dialog>
  );
}

/** Return the best picture of a stay, by name; null where none is kept. */
function pictureIn(found: Pictures | null, stay: Sight): string | null {
  const those = (found?.pictures ?? []).filter(
    ({ camera, ns }) => camera === stay.camera && ns >= stay.start_ns && ns <= stay.end_ns,
  );
  return those.sort((a, b) => b.quality - a.quality)[0]?.name ?? null;
}
