/** Finds people who look like a picture, like somebody, or like words. */

import { useEffect, useRef, useState } from "preact/hooks";
import { asApiError, type ApiError } from "../api/client";
import type { Match, Matches, PictureMatches } from "../api/types";
import { decimal } from "../logic/format";
import { idOf } from "../logic/people";
import { checkPicture } from "../logic/picture";
import { href, type Route } from "../logic/route";
import { patiently } from "../logic/patience";
import { useSession } from "../parts/context";
import { Ago } from "../parts/ago";
import { Icon } from "../parts/icons";
import { PersonChip } from "../parts/person";
import { Portrait } from "../parts/pictures";
import { Empty, Failed, Loading, NotAllowed, NotOffered } from "../parts/states";

type Asked = { kind: "picture"; file: File } | { kind: "person"; id: string; stay: string } | { kind: "text"; text: string };
interface Answer {
  found: Matches | PictureMatches | null;
  error: ApiError | null;
}

export function SearchPage({ route }: { route: Route }) {
  const session = useSession();
  const given = route.query.get("like") ?? "";
  const like = idOf(given) === null ? "" : given;
  const stay = route.query.get("stay") ?? "";
  const [asked, setAsked] = useState<Asked | null>(like ? { kind: "person", id: like, stay } : null);
  const [answer, setAnswer] = useState<Answer | null>(null);
  useEffect(() => {
    // What is asked already is not asked twice: the server searches one at a time.
    if (!like) setAsked((old) => (old?.kind === "person" ? null : old));
    else setAsked((old) => (old?.kind === "person" && old.id === like && old.stay === stay ? old : { kind: "person", id: like, stay }));
  }, [like, stay]);
  useEffect(() => {
    if (asked === null) return undefined;
    const ended = new AbortController();
    setAnswer(null);
    patiently(() => ask(session, asked, ended.signal), ended.signal)
      .then((found) => setAnswer({ found, error: null }))
      .catch((thrown: unknown) => ended.signal.aborted || setAnswer({ found: null, error: asApiError(thrown) }));
    return () => ended.abort();
  }, [session, asked]);
  /** Ask for something else than the address does, which then says so no longer. */
  const askFor = (next: Asked) => {
    setAsked(next);
    if (like) location.hash = href("search");
  };
  const byPicture = session.offer("POST /search/picture");
  const byText = session.offer("POST /search/text");
  return (
    <>
      <header class="page-head">
        <h1>Search</h1>
      </header>
      {!session.may("operator") ? (
        <NotAllowed what="what others look like" role="operator" />
      ) : (
        <div class="search-ways">
          {byPicture ? <PictureField onPicture={(file) => askFor({ kind: "picture", file })} /> : <NotOffered what="a search by picture" route="POST /search/picture" />}
          {byText && session.me?.words === false && <NoWords />}
          {byText && session.me?.words !== false && <TextField onText={(text) => askFor({ kind: "text", text })} />}
        </div>
      )}
      {given !== like && <Empty title={`“${given}” is no id of a person`} />}
      {asked !== null && (
        <section aria-label="Results" aria-busy={answer === null}>
          <AskedFor asked={asked} />
          {answer === null && <Loading what="who looks alike" />}
          {answer?.error && <Failed error={answer.error} retry={() => setAsked({ ...asked })} />}
          {answer?.found && "person" in answer.found && answer.found.person.people > 1 && (
            <p class="dim">{answer.found.person.people} people were found in the picture; the largest was looked for.</p>
          )}
          {answer?.found && <Found matches={answer.found.matches} />}
        </section>
      )}
    </>
  );
}

function ask(session: ReturnType<typeof useSession>, asked: Asked, signal: AbortSignal): Promise<Matches | PictureMatches> {
  const { client } = session;
  if (asked.kind === "person") return client.get(`/identities/${encodeURIComponent(asked.id)}/similar${stayQuery(asked.stay)}`, signal);
  if (asked.kind === "text") return client.send("POST", "/search/text", { text: asked.text });
  return client
    .ask("/search/picture", { method: "POST", body: asked.file, headers: { "Content-Type": asked.file.type }, signal })
    .then((answer) => answer.json() as Promise<PictureMatches>);
}

/** Return the query for one stay, `CAMERA/TRACK`; for none, all of somebody is looked for. */
function stayQuery(stay: string): string {
  const [camera = "", track = ""] = stay.split("/", 2);
  return stay && `?${new URLSearchParams({ camera, track })}`;
}

function PictureField({ onPicture }: { onPicture: (file: File) => void }) {
  const input = useRef<HTMLInputElement>(null);
  const [over, setOver] = useState(false);
  const [wrong, setWrong] = useState("");
  const take = (files: FileList | null | undefined) => {
    const file = files?.[0];
    if (!file) return;
    const found = checkPicture(file);
    setWrong(found);
    if (!found) onPicture(file);
  };
  useEffect(() => {
    const paste = (event: ClipboardEvent) => take(event.clipboardData?.files);
    addEventListener("paste", paste);
    return () => removeEventListener("paste", paste);
  }, [onPicture]);
  return (
    <div
      class={`drop ${over ? "over" : ""}`}
      onDragOver={(event) => {
        event.preventDefault();
        setOver(true);
      }}
      onDragLeave={() => setOver(false)}
      onDrop={(event) => {
        event.preventDefault();
        setOver(false);
        take(event.dataTransfer?.files);
      }}
    >
      <Icon name="search" />
      <p>Drop or paste a picture of one person</p>
      <button type="button" class="primary" onClick={() => input.current?.click()}>Choose a picture</button>
      <input
        ref={input}
        class="visually-hidden"
        type="file"
        tabIndex={-1}
        aria-label="Picture to search by"
        accept="image/jpeg,image/png,image/webp"
        onChange={(event) => {
          take(event.currentTarget.files);
          event.currentTarget.value = "";
        }}
      />
      {wrong && <p class="field-error" role="alert">{wrong}</p>}
    </div>
  );
}

function TextField({ onText }: { onText: (text: string) => void }) {
  const [text, setText] = useState("");
  return (
    <form
      class="text-search"
      onSubmit={(event) => {
        event.preventDefault();
        if (text.trim()) onText(text.trim());
      }}
    >
      <label>
        Or say what they look like
        <input value={text} maxLength={200} placeholder="a red coat and a black bag" onInput={(event) => setText(event.currentTarget.value)} />
      </label>
      <button type="submit" disabled={!text.trim()}>Search</button>
    </form>
  );
}

function NoWords() {
  return (
    <div class="state">
      <p class="state-title">The run's model knows no words.</p>
      <p>
        Words find people where it is a CLIP model: <code>crosscam models pull clip:ARCHITECTURE/WEIGHTS</code>
      </p>
    </div>
  );
}

function AskedFor({ asked }: { asked: Asked }) {
  const [url, setUrl] = useState<string | null>(null);
  useEffect(() => {
    if (asked.kind !== "picture") return undefined;
    const made = URL.createObjectURL(asked.file);
    setUrl(made);
    return () => URL.revokeObjectURL(made);
  }, [asked]);
  return (
    <h2 class="asked-for">
      People like {asked.kind === "person" ? <><PersonChip id={Number(asked.id)} /> {asked.stay && <span class="dim">in the stay {asked.stay}</span>}</> : asked.kind === "text" ? `“${asked.text}”` : url && <img src={url} alt="your picture" />}
    </h2>
  );
}

function Found({ matches }: { matches: Match[] }) {
  if (!matches.length) return <Empty title="Nobody looks like that" />;
  return (
    <ol class="cards people matches">
      {matches.map((each) => (
        <li key={each.global_id} class="card person-card">
          <Portrait id={each.global_id} picture={each.picture} />
          <div>
            <h3><PersonChip id={each.global_id} /></h3>
            <p>
              <span class="meter" aria-hidden="true"><span style={{ width: `${Math.max(0, Math.min(1, each.similarity)) * 100}%` }} /></span>
              {decimal(each.similarity, 2)} <span class="dim" title="cosine of their looks: 1 for the same ones">alike</span>
            </p>
            <p>seen <Ago ns={each.last_ns} /></p>
            <p class="tags">{each.cameras.map((name) => <span key={name} class="tag">{name}</span>)}</p>
            <p><a href={href("search", "", { like: String(each.global_id) })}>Search on<span class="visually-hidden"> from person {each.global_id}</span></a></p>
          </div>
        </li>
      ))}
    </ol>
  );
}
