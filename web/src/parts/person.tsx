/** A person's id, in their colour. */

import { colourOf } from "../logic/colour";
import { href } from "../logic/route";

/** A link to somebody's page. */
export function PersonChip({ id }: { id: number }) {
  return (
    <a class="person" href={href("identities", id)} style={{ "--person": colourOf(id) }}>
      <span class="dot" aria-hidden="true" />
      <span class="visually-hidden">Person </span>
      {id}
    </a>
  );
}
