import { render } from "preact";
import { App } from "./app";
import { enter } from "./logic/session";
import { restore } from "./logic/theme";
import "./styles/base.css";
import "./styles/shell.css";
import "./styles/pages.css";

restore();
void enter();
render(<App />, document.getElementById("app") as HTMLElement);
