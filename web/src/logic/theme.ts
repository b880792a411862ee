/** Dark or light: as the system has it, until somebody chooses. */

import { Store } from "./store";

export type Theme = "system" | "dark" | "light";

const KEY = "crosscam.theme";

function stored(): Theme {
  const found = localStorage.getItem(KEY);
  return found === "dark" || found === "light" ? found : "system";
}

export const theme = new Store<Theme>("system");

/** Choose, and remember it. */
export function choose(value: Theme): void {
  if (value === "system") localStorage.removeItem(KEY);
  else localStorage.setItem(KEY, value);
  apply(value);
}

/** Take up what was chosen before. */
export function restore(): void {
  apply(stored());
}

function apply(value: Theme): void {
  if (value === "system") delete document.documentElement.dataset["theme"];
  else document.documentElement.dataset["theme"] = value;
  theme.set(value);
}
