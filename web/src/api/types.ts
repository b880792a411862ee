/**
 * What the HTTP interface answers; times are UTC in nanoseconds since 1970.
 *
 * tests/edge/server/test_server_console_types.py compares each interface with the one of the same
 * name in the interface's own description (`IdentityEvent` is `Event` there).
 */

export type Role = "viewer" | "operator" | "admin";

export interface Me {
  name: string;
  role: Role;
  cameras: string[] | null;
  /** Whether words find people. */
  words: boolean;
}

export interface Settings {
  settings: Record<string, unknown>;
}

export interface Changed {
  global_id: number;
}

export interface Cameras {
  cameras: Camera[];
}

export interface Camera {
  id: string;
  state: string;
  fault: string | null;
  detail: string;
  fix: string;
  since_ns: number;
  address: string | null;
  failures: number;
  connections: number;
  received: number;
  dropped: number;
  looked_at: number;
  broken: number;
  frame_rate: number;
  last_ns: number | null;
  size: [number, number] | null;
  size_changes: number;
  look_rate: number;
  pace: string;
  stream: Stream;
  clock: Clock;
}

export interface Stream {
  codec: string;
  corrupt: number;
  errors: number;
  skipped: number;
  decoder: string;
}

export interface Clock {
  source: string;
  skew_s: number | null;
  jumps: number;
  repaired: number;
}

export interface Identity {
  global_id: number;
  first_ns: number;
  last_ns: number;
  tracklets: number;
  cameras: string[];
  state: "known" | "forgotten";
  picture: string | null;
}

export interface Identities {
  identities: Identity[];
  next: number | null;
}

export interface Sight {
  camera: string;
  track: number;
  start_ns: number;
  end_ns: number;
  observations: number;
}

export interface IdentityEvent {
  time_ns: number;
  kind: string;
  global_id: number;
  other_id: number | null;
  camera: string | null;
  track: number | null;
  odds: number | null;
  runner_up: number | null;
  runner_up_id: number | null;
  cause: string | null;
}

export interface IdentityPage extends Identity {
  asked_for: number;
  merged: boolean;
  names: number[];
  journey: Sight[];
  events: IdentityEvent[];
}

export interface Erased {
  global_id: number;
  tracklets: number;
  forgotten: boolean;
}

export interface Picture {
  name: string;
  camera: string;
  ns: number;
  quality: number;
  width: number;
  height: number;
}

export interface Pictures {
  pictures: Picture[];
}

export interface Matches {
  matches: Match[];
}

export interface Match {
  global_id: number;
  similarity: number;
  cameras: string[];
  last_ns: number;
  picture: string | null;
}

export interface Chosen {
  box: [number, number, number, number];
  people: number;
  confidence: number | null;
}

export interface PictureMatches extends Matches {
  person: Chosen;
}

export interface Place {
  id: string;
  x: number | null;
  y: number | null;
}

export interface Link {
  from: string;
  to: string;
  count: number;
  p05_s: number;
  median_s: number;
  p95_s: number;
  given: boolean;
}

export interface Topology {
  cameras: Place[];
  links: Link[];
}

export interface Person {
  track: number;
  global_id: number | null;
  box: [number, number, number, number];
}

export interface FrameHeader {
  camera: string | null;
  ns: number;
  width: number;
  height: number;
  jpeg: number;
  people: Person[];
}
