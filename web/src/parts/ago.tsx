/** How long ago something was, which goes on being true while the page stays open. */

import { useEffect, useState } from "preact/hooks";
import { ago, exact } from "../logic/format";

export function Ago({ ns }: { ns: number }) {
  const [, turn] = useState(0);
  useEffect(() => {
    const timer = setInterval(() => turn((old) => old + 1), 1000);
    return () => clearInterval(timer);
  }, []);
  return <time dateTime={exact(ns)} title={exact(ns)}>{ago(ns)}</time>;
}
