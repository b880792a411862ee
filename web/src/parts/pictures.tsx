/** Pictures of people: fetched with the token, shown from memory, let go afterwards. */

import { useEffect, useRef, useState } from "preact/hooks";
import { colourOf } from "../logic/colour";
import { Icon } from "./icons";
import { useSession } from "./context";

/** Whether an element has come into view. */
function useSeen(): [{ current: HTMLDivElement | null }, boolean] {
  const place = useRef<HTMLDivElement>(null);
  const [seen, setSeen] = useState(false);
  useEffect(() => {
    if (place.current === null) return undefined;
    const observer = new IntersectionObserver(
      (found) => {
        if (!found.some((each) => each.isIntersecting)) return;
        setSeen(true);
        observer.disconnect();
      },
      { rootMargin: "200px" },
    );
    observer.observe(place.current);
    return () => observer.disconnect();
  }, []);
  return [place, seen];
}

/** A stored picture by its name; an empty frame where it cannot be had. */
export function StoredPicture({ name, alt }: { name: string | null; alt: string }) {
  const { client } = useSession();
  const [place, seen] = useSeen();
  const [url, setUrl] = useState<string | null>(null);
  useEffect(() => {
    if (!seen || name === null) return undefined;
    const ended = new AbortController();
    let made: string | null = null;
    client
      .ask(`/pictures/${encodeURIComponent(name)}`, { signal: ended.signal })
      .then((answer) => answer.blob())
      .then((blob) => {
        if (ended.signal.aborted) return;
        made = URL.createObjectURL(blob);
        setUrl(made);
      })
      .catch(() => undefined); // it was let go meanwhile: the frame stays empty
    return () => {
      ended.abort();
      setUrl(null);
      if (made !== null) URL.revokeObjectURL(made);
    };
  }, [client, seen, name]);
  return (
    <div class="picture" ref={place}>
      {url === null ? <Icon name="identities" /> : <img src={url} alt={alt} />}
    </div>
  );
}

/** The best picture of somebody; only their colour where there is none. */
export function Portrait({ id, picture }: { id: number; picture: string | null }) {
  return (
    <div class="portrait" style={{ "--person": colourOf(id) }}>
      <StoredPicture name={picture} alt={`Person ${id}`} />
    </div>
  );
}
