import { render } from "preact";
import { ask, type Config } from "./api/client";
import { App } from "./app";
import { ConfigContext } from "./commands";
import { setPace } from "./live";

/** Milliseconds between two looks. */
const PACE = { development: 1000, stack: 5000 };

const config = await ask<Config>("/console/config.json");
setPace(config.stack === null ? PACE.development : PACE.stack);
render(
  <ConfigContext.Provider value={config}>
    <App />
  </ConfigContext.Provider>,
  document.getElementById("app")!,
);
