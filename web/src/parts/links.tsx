/** The ways between cameras as a table; those that were given can be changed. */

import { useState } from "preact/hooks";
import type { Link } from "../api/types";
import { count } from "../logic/format";
import { Empty } from "./states";

interface Props {
  cameras: string[];
  links: Link[];
  span: (seconds: number) => string;
  onChange: ((links: Link[]) => void) | null;
}

export function LinkTable({ cameras, links, span, onChange }: Props) {
  return (
    <section class="panel" aria-labelledby="ways">
      <h2 id="ways">Ways between cameras</h2>
      {!links.length && <Empty title="No way is known yet">They are learned from people who are seen by one camera after another.</Empty>}
      {links.length > 0 && (
        <div class="table-wrap" tabIndex={0} role="region" aria-label="Table of the ways">
          <table>
            <thead>
              <tr>
                <th scope="col">From</th><th scope="col">To</th><th scope="col">Half need</th><th scope="col">Nearly all</th>
                <th scope="col">Times</th><th scope="col">Known by</th>{onChange && <th scope="col"><span class="visually-hidden">Change</span></th>}
              </tr>
            </thead>
            <tbody>
              {links.map((each) => (
                <tr key={`${each.from}>${each.to}>${each.given}`}>
                  <td>{each.from}</td>
                  <td>{each.to}</td>
                  <td>{span(each.median_s)}</td>
                  <td>{`${span(each.p05_s)} – ${span(each.p95_s)}`}</td>
                  <td>{count(each.count)}</td>
                  <td>{each.given ? "given" : "learned"}</td>
                  {onChange && (
                    <td>
                      {each.given && (
                        <button type="button" aria-label={`Remove the way from ${each.from} to ${each.to}`} onClick={() => onChange(links.filter((other) => other !== each))}>
                          Remove
                        </button>
                      )}
                    </td>
                  )}
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      )}
      {onChange && cameras.length > 1 && <NewLink cameras={cameras} links={links} onChange={onChange} />}
    </section>
  );
}

function NewLink({ cameras, links, onChange }: { cameras: string[]; links: Link[]; onChange: (links: Link[]) => void }) {
  const [from, setFrom] = useState(cameras[0] ?? "");
  const [to, setTo] = useState(cameras[1] ?? "");
  const [least, setLeast] = useState("");
  const [most, setMost] = useState("");
  const [a, b] = [Number(least), Number(most)];
  const right = from !== to && least !== "" && most !== "" && a >= 0 && b >= a;
  const add = (event: Event) => {
    event.preventDefault();
    if (!right) return;
    const link: Link = { from, to, count: 0, p05_s: a, median_s: (a + b) / 2, p95_s: b, given: true };
    onChange([...links.filter((each) => !(each.given && each.from === from && each.to === to)), link]);
    setLeast("");
    setMost("");
  };
  const choose = (label: string, value: string, set: (value: string) => void) => (
    <label>
      {label}
      <select value={value} onChange={(event) => set(event.currentTarget.value)}>
        {cameras.map((each) => <option key={each} value={each}>{each}</option>)}
      </select>
    </label>
  );
  const seconds = (label: string, value: string, set: (value: string) => void) => (
    <label>
      {label}
      <input type="number" min="0" step="any" value={value} onInput={(event) => set(event.currentTarget.value)} />
    </label>
  );
  return (
    <form class="filters" aria-label="Give a way" onSubmit={add}>
      {choose("From", from, setFrom)}
      {choose("To", to, setTo)}
      {seconds("Least, seconds", least, setLeast)}
      {seconds("Most, seconds", most, setMost)}
      <button type="submit" disabled={!right}>Give this way</button>
    </form>
  );
}
