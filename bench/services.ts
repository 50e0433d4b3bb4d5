// The workloads on Restate's TypeScript SDK: an endpoint on the port of the first argument, or `answers` after it for
// one that gets a whole request before it answers.

import { createServer } from "node:http2";
import * as restate from "@restatedev/restate-sdk";

const [port, mode] = process.argv.slice(2);
const suffix = mode === "answers" ? "Answers" : "";

const counter = restate.object({
  name: `SdkCounter${suffix}`,
  handlers: {
    add: async (ctx: restate.ObjectContext, amount: number) => {
      const total = ((await ctx.get<number>("total")) ?? 0) + amount;
      ctx.set("total", total);
      return total;
    },
  },
});

const greeter = restate.service({
  name: `SdkGreeter${suffix}`,
  handlers: { greet: async (_: restate.Context, name: string) => `hi ${name}` },
});

const bench = restate.service({
  name: `SdkBench${suffix}`,
  handlers: {
    greet: async (_: restate.Context, name: string) => `hi ${name}`,
    steps: async (ctx: restate.Context, n: number) => {
      let total = 0;
      for (let i = 0; i < n; i++) total += await ctx.run(`step-${i}`, () => 1);
      return total;
    },
    steps_at_once: async (ctx: restate.Context, n: number) =>
      (await restate.RestatePromise.all(Array.from({ length: n }, (_, i) => ctx.run(`step-${i}`, () => 1)))).length,
    calls: async (ctx: restate.Context, n: number) => {
      let total = 0;
      for (let i = 0; i < n; i++) total += (await ctx.serviceClient(greeter).greet("x")).length;
      return total;
    },
    calls_at_once: async (ctx: restate.Context, n: number) =>
      (await restate.RestatePromise.all(Array.from({ length: n }, () => ctx.serviceClient(greeter).greet("x")))).length,
    objcalls: async (ctx: restate.Context, n: number) => {
      let total = 0;
      for (let i = 0; i < n; i++) total = await ctx.objectClient(counter, "bench").add(1);
      return total;
    },
  },
});

const handler = restate.createEndpointHandler({
  services: [bench, greeter, counter],
  bidirectional: mode !== "answers",
  logger: ({ level }, ...parts) => {
    if (level === "error") console.error(...parts);
  },
});

createServer(handler).listen(Number(port), "127.0.0.1");
