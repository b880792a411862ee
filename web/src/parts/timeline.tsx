/** A journey as a drawing: a lane for each camera, time from left to right. */

import { useEffect, useRef, useState } from "preact/hooks";
import type { Sight } from "../api/types";
import { clock, span } from "../logic/format";
import { timelineOf } from "../logic/journey";

const LANE = 34;
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
  const left = Math.min(120, Math.max(64, width * 0.18));
  const right = width - 14;
  const x = (share: number) => left + share * (right - left);
  const y = (lane: number) => TOP + lane * LANE + LANE / 2;
  const height = TOP + line.lanes.length * LANE + AXIS;
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
              <text x={Math.min(x(tick.at), right - 22)} y={height - 8} text-anchor="middle">{clock(tick.ns)}</text>
            </g>
          ))}
          {line.lanes.map((camera, lane) => (
            <g key={camera} class="lane">
              <line x1={left} x2={right} y1={y(lane)} y2={y(lane)} />
              <text x={left - 10} y={y(lane)} text-anchor="end" dominant-baseline="central">{camera}</text>
            </g>
          ))}
          {line.hops.map(({ from, to, seconds }, k) => (
            <line key={k} class="hop" x1={x(from.to)} y1={y(from.lane)} x2={x(to.from)} y2={y(to.lane)}>
              <title>{seconds >= 0 ? `${span(seconds)} between` : `${span(-seconds)} in both`}</title>
            </line>
          ))}
          {line.segments.map(({ sight, lane, from, to }) => (
            <rect
              key={`${sight.camera}/${sight.track}`}
              class="stay"
              x={x(from) - 3}
              y={y(lane) - 8}
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
