/** The configuration as it runs, to be read; and how the console looks. */

import type { Settings } from "../api/types";
import { choose, theme, type Theme } from "../logic/theme";
import { useStore } from "../logic/store";
import { useLoaded, useSession } from "../parts/context";
import { Failed, Loading, NotAllowed, NotOffered } from "../parts/states";

const THEMES: [Theme, string][] = [["system", "As the system has it"], ["dark", "Dark"], ["light", "Light"]];

export function SettingsPage() {
  const session = useSession();
  return (
    <>
      <header class="page-head"><h1>Settings</h1></header>
      <section class="panel" aria-labelledby="looks">
        <h2 id="looks">Colours</h2>
        <ThemeChoice />
      </section>
      {session.me && (
        <section class="panel" aria-labelledby="me">
          <h2 id="me">You</h2>
          <dl class="figures">
            <div><dt>Token</dt><dd>{session.me.name}</dd></div>
            <div><dt>Role</dt><dd>{session.me.role}</dd></div>
            <div><dt>Cameras</dt><dd>{session.me.cameras?.join(", ") ?? "all"}</dd></div>
          </dl>
        </section>
      )}
      <section class="panel" aria-labelledby="configuration">
        <h2 id="configuration">Configuration</h2>
        <Configuration />
      </section>
    </>
  );
}

function ThemeChoice() {
  const chosen = useStore(theme);
  return (
    <fieldset class="choices row">
      <legend class="visually-hidden">Colours</legend>
      {THEMES.map(([value, words]) => (
        <label key={value} class="choice">
          <input type="radio" name="theme" checked={chosen === value} onChange={() => choose(value)} />
          {words}
        </label>
      ))}
    </fieldset>
  );
}

function Configuration() {
  const session = useSession();
  const offered = session.offer("GET /settings");
  const allowed = session.may("admin");
  const { value, error, loading, reload } = useLoaded<Settings>(offered && allowed ? "/settings" : null);
  if (!offered) return <NotOffered what="its configuration" route="GET /settings" />;
  if (!allowed) return <NotAllowed what="the configuration" role="admin" />;
  return (
    <>
      <p class="dim">As it runs; the site file changes it. What is not set is left out, and secrets are never shown.</p>
      {error && <Failed error={error} retry={reload} />}
      {loading && <Loading what="the configuration" />}
      {value !== null && <Tree value={value.settings} />}
    </>
  );
}

/** Show any JSON: blocks as lists of names, the rest as text. */
function Tree({ value }: { value: unknown }) {
  if (Array.isArray(value)) {
    if (!value.length) return <span class="dim">none</span>;
    if (value.every((each) => typeof each !== "object" || each === null)) return <>{value.map(String).join(", ")}</>;
    return <ol class="tree-list">{value.map((each, k) => <li key={k}><Tree value={each} /></li>)}</ol>;
  }
  if (typeof value === "object" && value !== null) {
    const entries = Object.entries(value).filter(([, each]) => isSet(each));
    if (!entries.length) return <span class="dim">none</span>;
    return (
      <dl class="tree">
        {entries.map(([name, each]) => (
          <div key={name} class={typeof each === "object" && each !== null && Object.keys(each).length ? "block" : undefined}>
            <dt>{name}</dt>
            <dd><Tree value={each} /></dd>
          </div>
        ))}
      </dl>
    );
  }
  return value === null || value === "" ? <span class="dim">–</span> : <>{String(value)}</>;
}

function isSet(value: unknown): boolean {
  return typeof value === "object" ? value !== null && Object.keys(value).length > 0 : value !== "";
}
