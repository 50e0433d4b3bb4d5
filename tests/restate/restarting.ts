// An endpoint whose first life hangs in a step, and whose second life offers another service. `LIFE` says which it is.

import { appendFileSync } from "node:fs";
import * as restate from "@restatedev/restate-sdk";
import { host } from "./host.ts";

const first = process.env.LIFE === "first";

const step = (ctx: restate.Context, how: string, name: string, hangs = false) =>
  ctx.run(name, async () => {
    appendFileSync(process.env.STEPS!, `${how} ${name}\n`);
    if (hangs) await new Promise(() => {});
    return name;
  });

const working = restate.service({
  name: "Working",
  options: { retryPolicy: { maxInterval: 200, maxAttempts: 1_000_000 } },
  handlers: {
    work: async (ctx: restate.Context, how: string) => {
      const done = [await step(ctx, how, "one")];
      if (how === "waits") done.push(await ctx.signal<string>("go"));
      if (how === "sleeps") await ctx.sleep(2000);
      done.push(await step(ctx, how, "two", first && how === "works"));
      done.push(await step(ctx, how, "three"));
      return done;
    },
  },
});

const counter = restate.object({
  name: "Counter",
  handlers: {
    add: async (ctx: restate.ObjectContext) => {
      const count = ((await ctx.get<number>("count")) ?? 0) + 1;
      ctx.set("count", count);
      return count;
    },
  },
});

const added = restate.service({ name: "Added", handlers: { echo: async (_: restate.Context, it: string) => it } });

await host(first ? [working, counter] : [working, counter, added]);
