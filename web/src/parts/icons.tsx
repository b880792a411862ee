/** Drawings of 24 pixels, by name; they are never the only thing that tells. */

const PATHS: Record<string, string> = {
  mark: "M9 7a5 5 0 1 0 .01 0M15 7a5 5 0 1 0 .01 0",
  live: "M3 5h8v6H3zM13 5h8v6h-8zM3 13h8v6H3zM13 13h8v6h-8z",
  identities: "M12 4a4 4 0 1 0 .01 0M4 21c0-4 4-7 8-7s8 3 8 7",
  search: "M10.5 4a6.5 6.5 0 1 0 .01 0M15.5 15.5 21 21",
  cameras: "M3 8h12v9H3zM15 11l6-3v9l-6-3",
  map: "M6 4a2.5 2.5 0 1 0 .01 0M18 7a2.5 2.5 0 1 0 .01 0M9 15a2.5 2.5 0 1 0 .01 0M8.5 7l7 2M7 9l1.5 6M16.3 11.3l-5 4.7",
  settings: "M4 7h10M18 7h2M4 17h2M10 17h10M14 7a2 2 0 1 0 4 0 2 2 0 1 0-4 0M6 17a2 2 0 1 0 4 0 2 2 0 1 0-4 0",
  sun: "M12 8a4 4 0 1 0 .01 0M12 2v2M12 20v2M2 12h2M20 12h2M5 5l1.4 1.4M17.6 17.6 19 19M19 5l-1.4 1.4M6.4 17.6 5 19",
  moon: "M20 14a8 8 0 1 1-10-10 6.5 6.5 0 0 0 10 10",
  close: "M6 6l12 12M18 6 6 18",
  large: "M4 9V4h5M20 15v5h-5M4 4l6 6M20 20l-6-6",
};

export function Icon({ name }: { name: string }) {
  return (
    <svg class="icon" viewBox="0 0 24 24" aria-hidden="true" focusable="false">
      <path d={PATHS[name] ?? ""} />
    </svg>
  );
}
