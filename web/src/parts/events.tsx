/** What happened to an id, in words; lineage included. */

import type { ComponentChildren } from "preact";
import type { IdentityEvent } from "../api/types";
import { clock, decimal, exact } from "../logic/format";
import { Empty } from "./states";
import { PersonChip } from "./person";

export function EventList({ events, self }: { events: IdentityEvent[]; self: number }) {
  if (!events.length) return <Empty title="Nothing is told to your token" />;
  return (
    <ol class="events">
      {[...events].reverse().map((each, k) => (
        <li key={k} class={each.kind}>
          <time dateTime={exact(each.time_ns)} title={exact(each.time_ns)}>{clock(each.time_ns)}</time>
          <span>{told(each, self)}</span>
          {each.cause !== null && <span class="tag">{each.cause}</span>}
          {each.odds !== null && (
            <span class="dim odds" title="log-odds in nats">
              odds {decimal(each.odds, 1)}
              {each.runner_up !== null && each.runner_up_id !== null && (
                <>, next <PersonChip id={each.runner_up_id} /> {decimal(each.runner_up, 1)}</>
              )}
            </span>
          )}
        </li>
      ))}
    </ol>
  );
}

function told(event: IdentityEvent, self: number): ComponentChildren {
  const other = event.other_id === null ? "somebody" : <PersonChip id={event.other_id} />;
  const mine = event.global_id === self;
  const where = event.camera === null ? "" : ` at ${event.camera}`;
  switch (event.kind) {
    case "new":
      return `Seen for the first time${where}`;
    case "matched":
      return `Recognised${where}`;
    case "moved":
      return mine
        ? <>A stay{where} came from {other}</>
        : <>A stay{where} went to <PersonChip id={event.global_id} /></>;
    case "merged":
      return mine ? <>{other} is the same person</> : <>Merged into <PersonChip id={event.global_id} /></>;
    case "split":
      return mine ? <>Was part of {other}</> : <><PersonChip id={event.global_id} /> was split off</>;
    case "ended":
      return "Forgotten: no longer recognised";
    default:
      return `${event.kind}${where}`;
  }
}
