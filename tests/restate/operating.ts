// Orders that take steps, and wait for an approval.

import * as restate from "@restatedev/restate-sdk";
import { RestatePromise } from "@restatedev/restate-sdk";
import { host } from "./host.ts";

// How often each step ran, and what ends the wait of the step `charge`, by the key of its handler.
const ran: Record<string, Record<string, number>> = {};
const holding: Record<string, Promise<void>> = {};
const releases: Record<string, () => void> = {};

const step = <T>(key: string, name: string, value: T) => async () => {
  const steps = (ran[key] ??= {});
  steps[name] = (steps[name] ?? 0) + 1;
  if (name === "charge") await holding[key];
  return value;
};

const stock = restate.service({
  name: "Stock",
  handlers: {
    reserve: async (_: restate.Context, number: string) => `reserved ${number}`,
    recount: async (ctx: restate.Context) => {
      const fail = () => {
        throw new Error("no answer");
      };
      await ctx.run("count", fail, { initialRetryInterval: { hours: 1 }, maxRetryAttempts: 9 });
    },
  },
});

const place = async (ctx: restate.ObjectContext, size: number) => {
  const seen = (await ctx.get<number>("orders")) ?? 0;
  const quote = ctx.run("quote", step(ctx.key, "quote", "x".repeat(size)));
  const pack = ctx.run("pack", step(ctx.key, "pack", 7));
  await RestatePromise.all([quote, pack]);
  ctx.set("orders", seen + 1);
  const reserved = await ctx.serviceClient(stock).reserve(ctx.rand.uuidv4());
  await ctx.run("charge", step(ctx.key, "charge", reserved));
  const { id, promise } = ctx.awakeable<string>();
  await ctx.run("ask", step(ctx.key, "ask", id));
  const approved = await promise;
  await ctx.sleep(1);
  return [reserved, approved];
};

const orders = restate.object({
  name: "Orders",
  handlers: {
    place,
    nested: async (ctx: restate.ObjectContext, key: string): Promise<string[]> =>
      await ctx.genericCall({
        service: "Orders",
        key,
        method: "place",
        parameter: 1,
        inputSerde: restate.serde.json,
        outputSerde: restate.serde.json,
      }),
  },
});

const locks = restate.object({
  name: "Locks",
  handlers: {
    lock: async (ctx: restate.ObjectContext, key: string): Promise<void> => {
      await ctx.signal<string>("go");
      await ctx.genericCall({ service: "Locks", key, method: "touch", parameter: null, inputSerde: restate.serde.json });
    },
    touch: async (_: restate.ObjectContext) => {},
  },
});

const probe = restate.service({
  name: "Probe",
  handlers: {
    ran: async (_: restate.Context, key: string) => ran[key] ?? {},
    hold: async (_: restate.Context, key: string) => {
      holding[key] = new Promise((resolve) => (releases[key] = resolve));
    },
    release: async (_: restate.Context, key: string) => releases[key](),
  },
});

await host([orders, stock, locks, probe]);
