/** A button between dark and light; the settings have "as the system" too. */

import { choose, theme } from "../logic/theme";
import { useStore } from "../logic/store";
import { Icon } from "./icons";

export function ThemeSwitch() {
  const chosen = useStore(theme);
  const dark =
    chosen === "system" ? matchMedia("(prefers-color-scheme: dark)").matches : chosen === "dark";
  const other = dark ? "light" : "dark";
  return (
    <button type="button" class="quiet square" aria-label={`Use ${other} colours`} title={`Use ${other} colours`} onClick={() => choose(other)}>
      <Icon name={dark ? "sun" : "moon"} />
    </button>
  );
}
