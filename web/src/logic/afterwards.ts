/** Asks again once the gallery has what was told: it is written a moment after the run tells of it. */

const SOON_MS = 1000;
const LATE_MS = 5000; // for a gallery whose disk is slow

/** Does something twice after it was told of something: soon, and when all has been quiet for a while. */
export class Afterwards {
  private soon: ReturnType<typeof setTimeout> | undefined;
  private late: ReturnType<typeof setTimeout> | undefined;

  constructor(private readonly work: () => void) {}

  /** Something has happened. What comes in a row does not put it off. */
  told(): void {
    this.soon ??= setTimeout(() => {
      this.soon = undefined;
      this.work();
    }, SOON_MS);
    clearTimeout(this.late);
    this.late = setTimeout(this.work, LATE_MS);
  }

  /** Do nothing any more. */
  end(): void {
    clearTimeout(this.soon);
    clearTimeout(this.late);
    this.soon = this.late = undefined;
  }
}
