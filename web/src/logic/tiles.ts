/** The newest picture of each camera: decoded one at a time, older ones are passed over. */

import type { Frame } from "../api/frames";
import type { FrameHeader } from "../api/types";

export interface Shown {
  header: FrameHeader;
  picture: ImageBitmap;
  /** When it came, milliseconds of `performance.now()`. */
  at: number;
}

type Decode = (jpeg: Uint8Array<ArrayBuffer>) => Promise<ImageBitmap>;

const decodeJpeg: Decode = (jpeg) => createImageBitmap(new Blob([jpeg], { type: "image/jpeg" }));

/** Keeps the newest picture of each camera, and tells who shows it. */
export class Tiles {
  readonly shown = new Map<string, Shown>();
  private readonly waiting = new Map<string, Frame>();
  private readonly busy = new Set<string>();
  private readonly listeners = new Map<string, (shown: Shown) => void>();
  private closed = false;

  constructor(
    private readonly decode: Decode = decodeJpeg,
    private readonly now: () => number = () => performance.now(),
  ) {}

  /** Be told of the pictures of a camera, of the last one at once; returns what ends that. */
  listen(camera: string, listener: (shown: Shown) => void): () => void {
    this.listeners.set(camera, listener);
    const last = this.shown.get(camera);
    if (last) listener(last);
    return () => {
      if (this.listeners.get(camera) === listener) this.listeners.delete(camera);
    };
  }

  /** Take a picture; it is passed over when a newer one comes before it is decoded. */
  put(frame: Frame): void {
    const { camera } = frame.header;
    if (camera === null || frame.header.jpeg === 0) return;
    this.waiting.set(camera, frame);
    if (!this.busy.has(camera)) void this.work(camera);
  }

  /** Let all pictures go. */
  close(): void {
    this.closed = true;
    this.waiting.clear();
    for (const { picture } of this.shown.values()) picture.close();
    this.shown.clear();
  }

  private async work(camera: string): Promise<void> {
    this.busy.add(camera);
    for (let next = this.waiting.get(camera); next; next = this.waiting.get(camera)) {
      this.waiting.delete(camera);
      let picture: ImageBitmap;
      try {
        picture = await this.decode(next.jpeg);
      } catch {
        continue; // a damaged picture: the next one comes soon
      }
      if (this.closed) {
        picture.close();
        break;
      }
      this.shown.get(camera)?.picture.close();
      const shown = { header: next.header, picture, at: this.now() };
      this.shown.set(camera, shown);
      this.listeners.get(camera)?.(shown);
    }
    this.busy.delete(camera);
  }
}
