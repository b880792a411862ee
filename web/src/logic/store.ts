/** A value that parts of the page share. */

import { useEffect, useState } from "preact/hooks";

export class Store<T> {
  private readonly listeners = new Set<(value: T) => void>();

  constructor(private current: T) {}

  get value(): T {
    return this.current;
  }

  set(value: T): void {
    if (Object.is(value, this.current)) return;
    this.current = value;
    for (const each of [...this.listeners]) each(value);
  }

  /** Be told of each change; returns what ends that. */
  listen(listener: (value: T) => void): () => void {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  }
}

/** Use a store's value in a component. */
export function useStore<T>(store: Store<T>): T {
  const [value, set] = useState<T>(store.value);
  useEffect(() => {
    set(() => store.value);
    return store.listen((next) => set(() => next));
  }, [store]);
  return value;
}
