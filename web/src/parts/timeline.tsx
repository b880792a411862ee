/** A journey as a drawing: a lane for each camera, time from left to right. */

import { useEffect, useRef, useState } from "preact/hooks";
import type { Sight } from "../api/types";
import { clock, span } from "../logic/format";
import { timelineOf } from "../logic/journey";

const TOP = 8;
const AXIS = 26;

export function JourneyTimeline({ journey }: { journey: Sight[] }) {
  const place = useRef<HTMLDivElement>(null);
  const [width, setWidth] = useState(0);
  useEffect(() => {
    if (place.current === null) return undefined;
    const observer = new ResizeObserver(([found]) => found && setWidth(found.contentRect.width));
    observer.observe(place.current);
    return () => observer.disconnect();
  }, []);
  const line = timelineOf(journey, Math.max(2, Math.floor(width / 110)));
  if (line === null) return null;
  // On phones names stand above their lanes, for beside them is no room.
  const above = width < 560;
  const lane = above ? 46 : 34;
  const left = above ? 6 : 130;
  const right = width - 14;
  const x = (share: number) => left + share * (right - left);
  const y = (row: number) => TOP + row * lane + (above ? lane - 13 : lane / 2);
  const height = TOP + line.lanes.length * lane + AXIS;
  const words = line.segments
    .map(({ sight }) => `${sight.camera} from ${clock(sight.start_ns)} for ${span((sight.end_ns - sight.start_ns) / 1e9)}`)
    .join("; ");
  return (
    <div class="timeline" ref={place}>
      {width > 0 && (
        <svg width={width} height={height} role="img" aria-label={`Journey: ${words}`}>
          {line.ticks.map((tick) => (
            <g key={tick.ns} class="tick">
              <line x1={x(tick.at)} x2={x(tick.at)} y1={TOP} y2={height - AXIS} />
              <text x={Math.max(left + 26, Math.min(x(tick.at), right - 22))} y={height - 8} text-anchor="middle">{clock(tick.ns)}</text>
            </g>
          ))}
          {line.lanes.map((camera, row) => (
            <g key={camera} class="lane">
              <line x1={left} x2={right} y1={y(row)} y2={y(row)} />
            </g>
          ))}
          {line.hops.map(({ from, to, seconds }, k) => (
            <line key={k} class="hop" x1={x(from.to)} y1={y(from.lane)} x2={x(to.from)} y2={y(to.lane)}>
              <title>{`${span(seconds)} between`}</title>
            </line>
          ))}
          {line.lanes.map((camera, row) => (
            <text
              key={camera}
              class="camera"
              x={above ? 0 : left - 10}
              y={above ? y(row) - 20 : y(row)}
              text-anchor={above ? "start" : "end"}
              dominant-baseline="central"
            >
              {short(camera)}
            </text>
          ))}
          {line.segments.map(({ sight, lane: row, from, to }) => (
            <rect
              key={`${sight.camera}/${sight.track}`}
              class="stay"
              x={x(from) - 3}
              y={y(row) - 8}
              width={Math.max(x(to) - x(from), 0) + 6}
              height={16}
              rx={5}
            >
              <title>{`${sight.camera}, ${clock(sight.start_ns)} – ${clock(sight.end_ns)}`}</title>
            </rect>
          ))}
        </svg>
      )}
    </div>
  );
}

/** Return a name that has room beside its lane; the words of the drawing have all of it. */
function short(name: string): string {
  return name.length <= 17 ? name : `${name.slice(0, 16)}…`;
}
