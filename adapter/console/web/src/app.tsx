/** The frame around the screens: navigation, shortcuts, notices. */

import { useLayoutEffect, useMemo, useRef, useState } from "preact/hooks";
import { LocationProvider, Route, Router, useLocation } from "preact-iso";
import { Dialog } from "./components/dialog";
import { Notices } from "./components/notices";
import { useConfig } from "./commands";
import { enable, enabled, useKeys } from "./keyboard";
import { paused, refresh } from "./live";
import { DeadLetters } from "./screens/dead-letters";
import { Deployments } from "./screens/deployments";
import { InvocationScreen } from "./screens/invocation";
import { Invocations } from "./screens/invocations";
import { KeyScreen } from "./screens/key";
import { Keys } from "./screens/keys";
import { Overview } from "./screens/overview";
import { Services, ServiceScreen } from "./screens/services";
import { Waits } from "./screens/waits";

const SCREENS = [
  { name: "Overview", path: "/console", key: "o" },
  { name: "Invocations", path: "/console/invocations", key: "i" },
  { name: "Keys", path: "/console/keys", key: "k" },
  { name: "Services", path: "/console/services", key: "s" },
  { name: "Deployments", path: "/console/deployments", key: "d" },
  { name: "Waits", path: "/console/waits", key: "w" },
  { name: "Dead letters", path: "/console/dead-letters", key: "l" },
];

export function App() {
  return (
    <LocationProvider scope="/console">
      <Frame />
    </LocationProvider>
  );
}

function Frame() {
  const { path, route } = useLocation();
  const { stack } = useConfig();
  const [help, setHelp] = useState(false);
  const keys = useMemo(
    () => ({
      ...Object.fromEntries(SCREENS.map((screen) => [`g ${screen.key}`, () => route(screen.path)])),
      "?": () => setHelp(true),
      r: refresh,
    }),
    [route],
  );
  useKeys(keys);
  useFocusOnChange(path);
  return (
    <>
      <a
        class="skip"
        href="#main"
        onClick={(event) => (event.preventDefault(), document.getElementById("main")?.focus())}
      >
        To the content
      </a>
      <nav aria-label="Screens">
        <span class="stack">{stack ?? "development"}</span>
        <ul>
          {SCREENS.map((screen) => (
            <li key={screen.path}>
              <a href={screen.path} aria-current={isCurrent(path, screen.path) ? "page" : undefined}>
                {screen.name}
              </a>
            </li>
          ))}
        </ul>
        <div class="tools">
          <button
            type="button"
            class="small"
            aria-label={paused.value ? "Paused: look again" : "Live: stop looking"}
            onClick={() => setLive(paused.value)}
          >
            {paused.value ? "Paused" : "Live"}
          </button>
          <button type="button" class="small" onClick={() => setHelp(true)} aria-label="Keyboard shortcuts">
            ?
          </button>
        </div>
      </nav>
      <main id="main" tabIndex={-1}>
        <Router>
          <Route path="/console" component={Overview} />
          <Route path="/console/invocations" component={Invocations} />
          <Route path="/console/invocations/:id" component={InvocationScreen} />
          <Route path="/console/keys" component={Keys} />
          <Route path="/console/keys/:service" component={KeyScreen} />
          <Route path="/console/services" component={Services} />
          <Route path="/console/services/:service/:handler?" component={ServiceScreen} />
          <Route path="/console/deployments" component={Deployments} />
          <Route path="/console/waits" component={Waits} />
          <Route path="/console/dead-letters" component={DeadLetters} />
          <Route default component={Nowhere} />
        </Router>
      </main>
      <Notices />
      {help && <Help onClose={() => setHelp(false)} />}
    </>
  );
}

/** Move the focus to the content when another screen is shown, so that a screen reader begins there. */
function useFocusOnChange(path: string): void {
  const before = useRef(path);
  // Not after the paint: by then the reader may be writing in a field.
  useLayoutEffect(() => {
    if (before.current !== path) document.getElementById("main")?.focus({ preventScroll: true });
    before.current = path;
  }, [path]);
}

function setLive(live: boolean): void {
  paused.value = !live;
  if (live) refresh();
}

function isCurrent(path: string, screen: string): boolean {
  const here = path.replace(/\/$/, "");
  return screen === "/console" ? here === screen : here === screen || here.startsWith(`${screen}/`);
}

function Help({ onClose }: { onClose: () => void }) {
  const keys: [string, string][] = [
    ...SCREENS.map((screen): [string, string] => [`g ${screen.key}`, screen.name]),
    ["j, k", "next, previous line of a list"],
    ["o", "open the line"],
    ["x", "select the line"],
    ["/", "go to the filter"],
    ["r", "look again now"],
    ["Esc", "close a dialog"],
    ["?", "this list"],
  ];
  return (
    <Dialog title="Keyboard shortcuts" onClose={onClose}>
      <dl class="keys">
        {keys.map(([key, what]) => (
          <div key={key}>
            <dt>
              <kbd>{key}</kbd>
            </dt>
            <dd>{what}</dd>
          </div>
        ))}
      </dl>
      <label class="check">
        <input type="checkbox" checked={enabled.value} onChange={(event) => enable(event.currentTarget.checked)} />{" "}
        Shortcuts are on
      </label>
    </Dialog>
  );
}

function Nowhere() {
  return <p>There is no such screen.</p>;
}
