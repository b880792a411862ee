/** What a picture to search by must be. */

export const MOST_BYTES = 8 << 20;
const TYPES = new Set(["image/jpeg", "image/png", "image/webp"]);

/** Return what is wrong with a file, and what to do; empty where it will do. */
export function checkPicture({ type, size }: { type: string; size: number }): string {
  if (!TYPES.has(type)) return `This is ${type || "no picture"}: a JPEG, PNG or WebP is needed.`;
  if (size > MOST_BYTES) return `The picture has ${(size / (1 << 20)).toFixed(1)} MiB: 8 are the most. Make it smaller.`;
  return size === 0 ? "The file is empty." : "";
}
