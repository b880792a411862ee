/** A colour for each person, the same on every page. */

/** Return the hue of a person in degrees: neighbours in number are far apart in hue. */
export function hueOf(globalId: number): number {
  return (globalId * 137.50776405003785) % 360;
}

/** Return a person's colour; light enough for dark letters on it, and for pictures under it. */
export function colourOf(globalId: number): string {
  // Three rings of lightness tell apart people whose hues come close.
  const ring = Math.floor(globalId / 13) % 3;
  return `oklch(${[0.8, 0.72, 0.87][ring]} ${[0.15, 0.16, 0.11][ring]} ${hueOf(globalId).toFixed(1)})`;
}

/** Of tracks that are nobody yet. */
export const UNKNOWN_COLOUR = "oklch(0.87 0 0)";
