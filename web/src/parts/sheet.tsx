/** The pictures that are kept of somebody. */

import type { Pictures } from "../api/types";
import { clock, exact } from "../logic/format";
import { useLoaded, useSession } from "./context";
import { StoredPicture } from "./pictures";
import { Empty, Failed, Loading, NotOffered } from "./states";

export function ContactSheet({ id }: { id: number }) {
  const session = useSession();
  const offered = session.offer("GET /identities/{}/pictures");
  const { value, error, loading, reload } = useLoaded<Pictures>(
    offered ? `/identities/${id}/pictures` : null,
  );
  return (
    <section aria-labelledby="pictures">
      <h2 id="pictures">Pictures</h2>
      {!offered && <NotOffered what="pictures of people" route="GET /identities/{id}/pictures" />}
      {error && <Failed error={error} retry={reload} />}
      {loading && <Loading what="pictures" />}
      {value && !value.pictures.length && <Empty title="No picture is kept" />}
      {value && value.pictures.length > 0 && (
        <ul class="sheet">
          {[...value.pictures]
            .sort((a, b) => b.ns - a.ns)
            .map((each) => (
              <li key={each.name}>
                <StoredPicture name={each.name} alt={`At ${each.camera}, ${clock(each.ns)}`} />
                <p>
                  {each.camera}
                  <br />
                  <time class="dim" dateTime={exact(each.ns)} title={exact(each.ns)}>{clock(each.ns)}</time>
                </p>
              </li>
            ))}
        </ul>
      )}
    </section>
  );
}
