// Passes what it is given on to other services by name, whatever language they are written in.

import * as restate from "@restatedev/restate-sdk";
import { host } from "./host.ts";

type Hop = { service: string; key?: string };

const { serde } = restate;

// Calls the rest of a route, and returns the places that it led through.
const call = async (ctx: restate.Context, [next, ...rest]: Hop[]): Promise<string[]> =>
  next === undefined
    ? []
    : await ctx.genericCall({ ...next, method: "call", parameter: rest, inputSerde: serde.json, outputSerde: serde.json });

const send = async (ctx: restate.Context, [next, ...rest]: Hop[]) => {
  if (next !== undefined) ctx.genericSend({ ...next, method: "send", parameter: rest, inputSerde: serde.json });
};

const relay = restate.service({
  name: "FirstRelay",
  handlers: {
    call: async (ctx: restate.Context, route: Hop[]) => ["FirstRelay", ...(await call(ctx, route))],
    send,
  },
});

const visited = async (ctx: restate.ObjectContext) => {
  const visits = ((await ctx.get<number>("visits")) ?? 0) + 1;
  ctx.set("visits", visits);
  return `FirstPlace/${ctx.key} ${visits}`;
};

const place = restate.object({
  name: "FirstPlace",
  handlers: {
    call: async (ctx: restate.ObjectContext, route: Hop[]) => [await visited(ctx), ...(await call(ctx, route))],
    send: async (ctx: restate.ObjectContext, route: Hop[]) => {
      await visited(ctx);
      await send(ctx, route);
    },
    visits: restate.handlers.object.shared(
      async (ctx: restate.ObjectSharedContext) => (await ctx.get<number>("visits")) ?? 0,
    ),
  },
});

await host([relay, place]);
