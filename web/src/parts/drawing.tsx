/** The map: cameras that can be moved, and arrows between them. */

import { useEffect, useRef, useState } from "preact/hooks";
import type { Link } from "../api/types";
import { span } from "../logic/format";
import { linkText, moved, type Placed } from "../logic/places";

const STEP = 0.02;
const LABEL_AT = 0.37; // of the way
const KEYS: Record<string, [number, number]> = {
  ArrowLeft: [-STEP, 0], ArrowRight: [STEP, 0], ArrowUp: [0, -STEP], ArrowDown: [0, STEP],
};

interface Props {
  places: Placed[];
  links: Link[];
  onMove: ((places: Placed[]) => void) | null;
}

export function MapDrawing({ places, links, onMove }: Props) {
  const place = useRef<HTMLDivElement>(null);
  const [width, setWidth] = useState(0);
  const dragged = useRef<string | null>(null);
  useEffect(() => {
    if (place.current === null) return undefined;
    const observer = new ResizeObserver(([found]) => found && setWidth(found.contentRect.width));
    observer.observe(place.current);
    return () => observer.disconnect();
  }, []);
  const height = Math.round(Math.min(620, Math.max(320, Math.min(width * 0.55, innerHeight - 300))));
  const at = new Map(places.map((each) => [each.id, each]));
  const drag = (event: PointerEvent) => {
    if (dragged.current === null || onMove === null) return;
    const box = (event.currentTarget as SVGElement).getBoundingClientRect();
    onMove(moved(places, dragged.current, (event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height));
  };
  const drop = () => (dragged.current = null);
  return (
    <div class="map" ref={place}>
      {width > 0 && (
        <svg width={width} height={height} role="group" aria-label="Map of the cameras" onPointerMove={drag} onPointerUp={drop} onPointerCancel={drop}>
          <defs>
            <marker id="arrow" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="7" markerHeight="7" orient="auto-start-reverse">
              <path d="M0 0 10 5 0 10z" />
            </marker>
          </defs>
          {links.map((link) => {
            const from = at.get(link.from);
            const to = at.get(link.to);
            if (!from || !to || from === to) return null;
            return <Arrow key={`${link.from}>${link.to}>${link.given}`} link={link} from={from} to={to} width={width} height={height} />;
          })}
          {places.map(({ id, x, y }) => (
            <g
              key={id}
              class={`node ${onMove ? "movable" : ""}`}
              transform={`translate(${x * width} ${y * height})`}
              tabindex={onMove ? 0 : undefined}
              role={onMove ? "button" : "img"}
              aria-label={onMove ? `${id}: move with the arrow keys` : id}
              aria-roledescription={onMove ? "movable camera" : undefined}
              onPointerDown={(event) => {
                if (!onMove) return;
                dragged.current = id;
                (event.currentTarget.ownerSVGElement as SVGElement).setPointerCapture(event.pointerId);
              }}
              onKeyDown={(event) => {
                const step = KEYS[event.key];
                if (!step || !onMove) return;
                event.preventDefault();
                onMove(moved(places, id, x + step[0], y + step[1]));
              }}
            >
              <circle r="15" />
              <path class="icon" d="M-8-4h9v8h-9zM1-1 7-4v8L1 1" />
              <text y={y < 0.5 ? -24 : 32} text-anchor="middle">{id}</text>
            </g>
          ))}
        </svg>
      )}
    </div>
  );
}

function Arrow({ link, from, to, width, height }: { link: Link; from: Placed; to: Placed; width: number; height: number }) {
  const [x1, y1, x2, y2] = [from.x * width, from.y * height, to.x * width, to.y * height];
  const length = Math.hypot(x2 - x1, y2 - y1) || 1;
  const [ux, uy] = [(x2 - x1) / length, (y2 - y1) / length];
  // Bent to the side, so that the way back is another line, and what was given one beside what was learned.
  const bend = link.given ? 60 : 22;
  const [mx, my] = [(x1 + x2) / 2 - uy * bend, (y1 + y2) / 2 + ux * bend];
  // Nearer to where the way begins: in the middle the times of crossing ways would stand on each other.
  const [a, b, c] = [(1 - LABEL_AT) ** 2, 2 * LABEL_AT * (1 - LABEL_AT), LABEL_AT ** 2];
  const weight = 1.5 + Math.min(3, Math.log10(1 + link.count));
  return (
    <g class={`link ${link.given ? "given" : ""}`}>
      <path
        d={`M${x1 + ux * 18} ${y1 + uy * 18}Q${mx} ${my} ${x2 - ux * 20 - uy * 3} ${y2 - uy * 20 + ux * 3}`}
        stroke-width={weight}
        marker-end="url(#arrow)"
      />
      {length > 70 && (
        <text x={a * x1 + b * mx + c * x2 - uy * 12} y={a * y1 + b * my + c * y2 + ux * 12} text-anchor="middle" dominant-baseline="central">
          {span(link.median_s)}
        </text>
      )}
      <title>{`${link.from} to ${link.to}: ${linkText(link, span)}`}</title>
    </g>
  );
}
