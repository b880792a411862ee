/** The frame of every page: who is signed in, where one can go, and whether the server is there. */

import type { ComponentType } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import { entry, enter, leave, type Session } from "./logic/session";
import { href, parseRoute, type Route } from "./logic/route";
import { useStore } from "./logic/store";
import { SessionContext } from "./parts/context";
import { Icon } from "./parts/icons";
import { Failed, Loading } from "./parts/states";
import { ThemeSwitch } from "./parts/theme";
import { SignIn } from "./pages/sign-in";
import { LivePage } from "./pages/live";
import { IdentitiesPage } from "./pages/identities";
import { PersonPage } from "./pages/person";
import { CamerasPage } from "./pages/cameras";
import { SearchPage } from "./pages/search";
import { MapPage } from "./pages/map";
import { SettingsPage } from "./pages/settings";

interface Page {
  name: string;
  title: string;
  show: ComponentType<{ route: Route }>;
}

const PAGES: Page[] = [
  { name: "live", title: "Live", show: LivePage },
  { name: "identities", title: "People", show: IdentitiesPage },
  { name: "search", title: "Search", show: SearchPage },
  { name: "cameras", title: "Cameras", show: CamerasPage },
  { name: "map", title: "Map", show: MapPage },
  { name: "settings", title: "Settings", show: SettingsPage },
];

export function App() {
  const found = useStore(entry);
  switch (found.state) {
    case "starting":
      return (
        <main class="alone">
          <Loading what="the console" />
        </main>
      );
    case "away":
      return (
        <main class="alone">
          <Failed error={found.error} retry={() => void enter()} />
        </main>
      );
    case "sign-in":
      return <SignIn error={found.error} />;
    case "in":
      return <Shell session={found.session} />;
  }
}

function useRoute(): Route {
  const [route, setRoute] = useState(() => parseRoute(location.hash));
  useEffect(() => {
    const changed = () => setRoute(parseRoute(location.hash));
    addEventListener("hashchange", changed);
    return () => removeEventListener("hashchange", changed);
  }, []);
  return route;
}

function Shell({ session }: { session: Session }) {
  const route = useRoute();
  const main = useRef<HTMLElement>(null);
  const first = useRef(true);
  const page = PAGES.find((each) => each.name === route.page) ?? (PAGES[0] as Page);
  const title = route.item && page.name === "identities" ? `Person ${route.item}` : page.title;
  useEffect(() => {
    const ended = new AbortController();
    session.follow(ended.signal);
    return () => ended.abort();
  }, [session]);
  useEffect(() => {
    document.title = `${title} · crosscam`;
    // Whoever cannot see that the page is another one hears it; not when the console opens.
    if (!first.current) main.current?.focus();
    first.current = false;
  }, [title]);
  const Show = page.name === "identities" && route.item ? PersonPage : page.show;
  return (
    <SessionContext.Provider value={session}>
      <a class="skip" href="#main" onClick={(event) => { event.preventDefault(); main.current?.focus(); }}>
        To the content
      </a>
      <header class="bar">
        <a class="brand" href="#/live">
          <Icon name="mark" />
          crosscam
        </a>
        <nav aria-label="Pages">
          {PAGES.map((each) => (
            <a
              key={each.name}
              href={href(each.name)}
              aria-current={each === page ? "page" : undefined}
            >
              <Icon name={each.name} />
              <span>{each.title}</span>
            </a>
          ))}
        </nav>
        <div class="bar-end">
          <ConnectionState session={session} />
          <ThemeSwitch />
          {session.client.token !== null && (
            <button type="button" class="quiet" onClick={() => leave(null)}>
              Sign out{session.me && <span class="visually-hidden"> {session.me.name}</span>}
            </button>
          )}
        </div>
      </header>
      <main id="main" ref={main} tabIndex={-1} aria-label={title}>
        <Show key={`${page.name}/${route.item}`} route={route} />
      </main>
    </SessionContext.Provider>
  );
}

const WORDS = { connecting: "Connecting", live: "Connected", lost: "Connection lost" } as const;

function ConnectionState({ session }: { session: Session }) {
  const state = useStore(session.connection);
  return (
    <span class={`connection ${state}`} role="status">
      <span class="dot" aria-hidden="true" />
      <span class="connection-text">{WORDS[state]}</span>
    </span>
  );
}
