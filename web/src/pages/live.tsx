/** What the cameras see now, with the people in it. */

import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import { FINAL, watch } from "../api/frames";
import type { ApiError } from "../api/client";
import type { Camera, Cameras } from "../api/types";
import { draw, personAt } from "../logic/boxes";
import { span } from "../logic/format";
import { href, type Route } from "../logic/route";
import { Tiles, type Shown } from "../logic/tiles";
import { useLoaded, useSession } from "../parts/context";
import { Icon } from "../parts/icons";
import { PersonChip } from "../parts/person";
import { Empty, Failed, Loading, NotOffered, sentence } from "../parts/states";
import { CameraState } from "./cameras";

const STALE_MS = 5_000;

export function LivePage({ route }: { route: Route }) {
  const session = useSession();
  const { value, error, loading, reload } = useLoaded<Cameras>("/cameras", 3);
  const all = value?.cameras ?? [];
  const one = route.item || null;
  const cameras = one === null ? all : all.filter((each) => each.id === one);
  const usual = all.find((each) => each.size !== null)?.size ?? [16, 9];
  const offered = session.offer("GET /live");
  const tiles = useMemo(() => new Tiles(), []);
  useEffect(() => () => tiles.close(), [tiles]);
  const lost = useStream(tiles, offered && cameras.length > 0, one, all.length);
  const trying = lost !== null && !(lost.error !== null && FINAL.includes(lost.error.status));
  return (
    <>
      <header class="page-head">
        <h1>{one ?? "Live"}</h1>
        {one !== null && <a class="button" href={href("live")}>All cameras</a>}
        {trying && <p role="status" class="badge warn">Pictures interrupted, trying again</p>}
      </header>
      {error && <Failed error={error} retry={reload} />}
      {loading && <Loading what="the cameras" />}
      {!offered && <NotOffered what="live pictures" route="GET /live" />}
      {lost?.error && lost.error.status >= 400 && <Failed error={lost.error} />}
      {value && !cameras.length && <Empty title={one === null ? "No camera that your token may know of" : `No camera ${one} that your token may know of`} />}
      {offered && (
        <ul class={`mosaic n${Math.min(cameras.length, 9)}`}>
          {cameras.map((each) => <Tile key={each.id} camera={each} tiles={tiles} usual={usual} single={one !== null} />)}
        </ul>
      )}
    </>
  );
}

/** Keep the stream while the page is seen: nobody draws pictures for a tab in the background. */
function useStream(tiles: Tiles, wanted: boolean, one: string | null, count: number): { error: ApiError | null } | null {
  const { client } = useSession();
  const [lost, setLost] = useState<{ error: ApiError | null } | null>(null);
  const [hidden, setHidden] = useState(document.hidden);
  useEffect(() => {
    const changed = () => setHidden(document.hidden);
    document.addEventListener("visibilitychange", changed);
    return () => document.removeEventListener("visibilitychange", changed);
  }, []);
  // Small tiles take small pictures.
  const height = one !== null ? 720 : count <= 2 ? 540 : 360;
  useEffect(() => {
    setLost(null);
    if (!wanted || hidden) return undefined;
    const ended = new AbortController();
    const query = new URLSearchParams({ fps: "8", height: String(height) });
    if (one !== null) query.set("cameras", one);
    void watch(
      client,
      `?${query}`,
      {
        onFrame: (frame) => {
          tiles.put(frame);
          setLost(null);
        },
        onState: (state, error) => state === "lost" && setLost({ error }),
      },
      ended.signal,
    );
    return () => ended.abort();
  }, [client, tiles, wanted, hidden, one, height]);
  return lost;
}

interface TileProps {
  camera: Camera;
  tiles: Tiles;
  /** Width and height of pictures, for a camera that has not sent any. */
  usual: [number, number];
  single: boolean;
}

function Tile({ camera, tiles, usual, single }: TileProps) {
  const canvas = useRef<HTMLCanvasElement>(null);
  const last = useRef<Shown | null>(null);
  const hover = useRef<number | null>(null);
  const [people, setPeople] = useState<number[]>([]);
  const [strangers, setStrangers] = useState(0);
  const [stale, setStale] = useState<number | null>(null);
  const [any, setAny] = useState(false);
  useEffect(() => {
    let asked = 0;
    const paint = () => {
      asked = 0;
      const found = last.current;
      if (canvas.current && found) draw(canvas.current, found.picture, found.header, hover.current);
    };
    const ends = tiles.listen(camera.id, (shown) => {
      last.current = shown;
      setAny(true);
      setStale(null);
      const ids = shown.header.people.flatMap((each) => each.global_id ?? []).sort((a, b) => a - b);
      setPeople((old) => (old.join() === ids.join() ? old : ids));
      setStrangers(shown.header.people.length - ids.length);
      if (!asked) asked = requestAnimationFrame(paint);
    });
    const timer = setInterval(() => {
      const age = last.current && performance.now() - last.current.at;
      setStale(age !== null && age > STALE_MS ? age / 1000 : null);
    }, 1000);
    return () => {
      ends();
      clearInterval(timer);
      cancelAnimationFrame(asked);
    };
  }, [tiles, camera.id]);
  const under = (event: MouseEvent) => {
    const found = last.current;
    if (!found) return null;
    const box = (event.currentTarget as HTMLElement).getBoundingClientRect();
    return personAt(found.header, event.clientX - box.left, event.clientY - box.top, box.width, box.height);
  };
  const [w, h] = camera.size ?? usual;
  return (
    <li class="tile" aria-labelledby={`tile-${camera.id}`}>
      <div class="tile-head">
        <h2 id={`tile-${camera.id}`}>{camera.id}</h2>
        {camera.state !== "running" && <CameraState camera={camera} />}
        {!single && (
          <a class="quiet square" href={href("live", camera.id)} aria-label={`Only ${camera.id}, large`} title="Large">
            <Icon name="large" />
          </a>
        )}
      </div>
      <div class="screen" style={{ "--ratio": `${w} / ${h}` }}>
        <canvas
          ref={canvas}
          role="img"
          aria-label={`${camera.id}: ${people.length ? `person ${people.join(", ")}` : "nobody known"} in the picture`}
          onClick={(event) => {
            const id = under(event)?.global_id ?? null;
            if (id !== null) location.hash = href("identities", id);
          }}
          onMouseMove={(event) => {
            hover.current = under(event)?.global_id ?? null;
            event.currentTarget.classList.toggle("over", hover.current !== null);
          }}
        />
        {!any && <p class="screen-note">{camera.fix && camera.state !== "running" ? sentence(camera.fix) : "Waiting for a picture…"}</p>}
        {any && stale !== null && <p class="screen-note old">No picture for {span(Math.round(stale))}</p>}
      </div>
      <p class="tile-people">
        {stale !== null && people.length > 0 && <span class="dim">seen last:</span>}
        {people.map((id) => <PersonChip key={id} id={id} />)}
        {strangers > 0 && <span class="dim">{strangers} not known yet</span>}
        {any && !people.length && !strangers && <span class="dim">nobody</span>}
      </p>
    </li>
  );
}
