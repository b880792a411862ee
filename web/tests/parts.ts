/** Return a frame of live pictures as the server sends it. */
export function bytesOf(camera: string | null, jpeg: number[]): Uint8Array {
  const header = { camera, ns: 1, width: 4, height: 3, jpeg: jpeg.length, people: [] };
  const text = new TextEncoder().encode(JSON.stringify(header));
  const all = new Uint8Array(4 + text.length + jpeg.length);
  new DataView(all.buffer).setUint32(0, text.length);
  all.set(text, 4);
  all.set(jpeg, 4 + text.length);
  return all;
}
