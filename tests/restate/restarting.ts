// An endpoint whose first life hangs in a step, and whose second life offers another service. `LIFE` says which it is.

import { appendFileSync } from "node:fs";
import * as restate from "@restatedev/restate-sdk";
import { host } from "./host.ts";

const first = process.env.LIFE === "first";

const step = (ctx: restate.Context, name: string, hangs: boolean) =>
  ctx.run(name, async () => {
    appendFileSync(process.env.STEPS!, `${ctx.request().id} ${name}\n`);
    if (hangs) await new Promise(() => {});
    return name;
  });

const working = restate.service({
  name: "Working",
  options: { retryPolicy: { maxInterval: 200, maxAttempts: 1_000_000 } },
  handlers: {
    work: async (ctx: restate.Context, waits: boolean) => {
      const done = [await step(ctx, "one", false)];
      if (waits) done.push(await ctx.signal<string>("go"));
      done.push(await step(ctx, "two", first && !waits));
      done.push(await step(ctx, "three", false));
      return done;
    },
  },
});

const added = restate.service({ name: "Added", handlers: { echo: async (_: restate.Context, it: string) => it } });

await host(first ? [working] : [working, added]);
