/** How the cameras are: state, faults, what to do, rates. */

import { useEffect, useRef } from "preact/hooks";
import type { Camera, Cameras } from "../api/types";
import { ago, count, exact, plural, span } from "../logic/format";
import { rateOf, type Reading } from "../logic/rate";
import { href } from "../logic/route";
import { useLoaded, useSession } from "../parts/context";
import { Empty, Failed, Loading, sentence } from "../parts/states";

const STATES: Record<string, string> = {
  connecting: "Connecting",
  running: "Running",
  stalled: "Stalled",
  backing_off: "Trying again",
  failed: "Needs somebody",
  stopped: "Stopped",
};
const TONES: Record<string, string> = {
  running: "good",
  connecting: "busy",
  stalled: "warn",
  backing_off: "warn",
  failed: "bad",
  stopped: "quiet",
};
const PACES: Record<string, string> = {
  lowered: "Looked at less often: this machine has not time enough for all cameras",
  too_low: "Looked at less than twice a second: people will be missed. Fewer cameras, or a faster machine",
};

/** A camera's state, in words and a colour. */
export function CameraState({ camera }: { camera: Camera }) {
  return (
    <span class={`badge ${TONES[camera.state] ?? "quiet"}`}>
      {STATES[camera.state] ?? camera.state}
    </span>
  );
}

export function CamerasPage() {
  const session = useSession();
  const { value, error, loading, reload } = useLoaded<Cameras>("/cameras", 2);
  useEffect(() => session.on((event) => event.event === "camera" && reload()), [session]);
  const cameras = value?.cameras ?? [];
  const ok = cameras.filter((each) => each.state === "running").length;
  return (
    <>
      <header class="page-head">
        <h1>Cameras</h1>
        {value && <p>{ok} of {plural(cameras.length, "camera")} running</p>}
      </header>
      {error && <Failed error={error} retry={reload} />}
      {loading && <Loading what="the cameras" />}
      {value && !cameras.length && <Empty title="No camera that your token may know of" />}
      <ul class="cards cameras">
        {cameras.map((each) => (
          <CameraCard key={each.id} camera={each} />
        ))}
      </ul>
    </>
  );
}

function CameraCard({ camera }: { camera: Camera }) {
  const readings = useRef<Reading[]>([]);
  const rate = rateOf(readings.current, { at: performance.now(), value: camera.looked_at });
  const ill = camera.fault !== null && camera.state !== "running";
  return (
    <li class="card" aria-labelledby={`camera-${camera.id}`}>
      <div class="card-head">
        <h2 id={`camera-${camera.id}`}>{camera.id}</h2>
        <CameraState camera={camera} />
        <span class="since" title={exact(camera.since_ns)}>
          for {span(Date.now() / 1000 - camera.since_ns / 1e9)}
        </span>
      </div>
      {ill && (
        <div class="fault">
          <p>
            <strong>{sentence((camera.fault ?? "").replaceAll("_", " "))}</strong>
            {camera.detail && `: ${camera.detail}`}
          </p>
          {camera.fix && <p>What to do: {camera.fix}</p>}
          {camera.failures > 0 && <p>{plural(camera.failures, "attempt")} in a row failed</p>}
        </div>
      )}
      {camera.state === "running" && PACES[camera.pace] && <p class="slow">{PACES[camera.pace]}</p>}
      <dl class="figures">
        <Figure name="Comes" value={camera.state === "running" ? `${camera.frame_rate.toFixed(1)} /s` : "nothing"} />
        <Figure name="Looked at" value={rate === null ? "…" : `${rate.toFixed(1)} /s`} />
        <Figure name="Last picture" value={camera.last_ns === null ? "none yet" : ago(camera.last_ns)} />
        <Figure
          name="Picture"
          value={camera.size ? `${camera.size[0]} × ${camera.size[1]} ${camera.stream.codec}` : "–"}
        />
      </dl>
      <details>
        <summary>All figures</summary>
        <dl class="figures">
          {camera.address && <Figure name="Address" value={camera.address} wide />}
          <Figure name="Received" value={count(camera.received)} />
          <Figure name="Looked at" value={count(camera.looked_at)} />
          <Figure name="Looked at, at most" value={`${camera.look_rate.toFixed(1)} /s`} />
          <Figure name="Decoded by" value={camera.stream.decoder} />
          <Figure name="Replaced by a newer one" value={count(camera.dropped)} />
          <Figure name="Could not be looked at" value={count(camera.broken)} />
          <Figure name="Connections" value={count(camera.connections)} />
          <Figure name="Damaged on the way" value={count(camera.stream.corrupt)} />
          <Figure name="Undecodable packets" value={count(camera.stream.errors)} />
          <Figure name="Packets before a key picture" value={count(camera.stream.skipped)} />
          <Figure name="Changes of size" value={count(camera.size_changes)} />
          <Figure name="Times come from" value={camera.clock.source} />
          <Figure
            name="Camera's clock is off by"
            value={camera.clock.skew_s === null ? "–" : span(Math.abs(camera.clock.skew_s))}
          />
          <Figure name="Jumps of time" value={count(camera.clock.jumps)} />
          <Figure name="Times that were put right" value={count(camera.clock.repaired)} />
        </dl>
      </details>
      <p class="card-links">
        <a href={href("live", camera.id)}>Watch<span class="visually-hidden"> {camera.id}</span></a>
        <a href={href("identities", "", { camera: camera.id })}>
          People seen<span class="visually-hidden"> by {camera.id}</span>
        </a>
      </p>
    </li>
  );
}

function Figure({ name, value, wide = false }: { name: string; value: string; wide?: boolean }) {
  return (
    <div class={wide ? "wide" : undefined}>
      <dt>{name}</dt>
      <dd>{value}</dd>
    </div>
  );
}
