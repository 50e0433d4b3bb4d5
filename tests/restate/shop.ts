// Handlers that declare what they take and give with schemas, which the endpoint's manifest has as JSON schemas.

import * as restate from "@restatedev/restate-sdk";
import * as z from "zod";
import { host } from "./host.ts";

const { schema } = restate.serde;

const Order = z.object({
  sku: z.string(),
  count: z.number().int().default(1),
  size: z.enum(["small", "large"]),
  notes: z.array(z.string()).optional(),
  gift: z.object({ to: z.string(), card: z.string().nullable() }).optional(),
});

const Receipt = z.object({ total: z.number(), lines: z.array(z.object({ sku: z.string(), count: z.number() })) });

const Category = z.object({
  name: z.string(),
  get parts() {
    return z.array(Category);
  },
});

const shop = restate.object({
  name: "Shop",
  handlers: {
    place: restate.handlers.object.exclusive(
      { input: schema(Order), output: schema(Receipt) },
      async (ctx, { sku, count }) => {
        const lines = [...((await ctx.get<z.infer<typeof Receipt>["lines"]>("lines")) ?? []), { sku, count }];
        ctx.set("lines", lines);
        return { total: lines.reduce((total, line) => total + 2.5 * line.count, 0), lines };
      },
    ),
    orders: restate.handlers.object.shared(
      { input: restate.serde.empty, output: schema(z.array(Order.shape.sku)) },
      async (ctx) => ((await ctx.get<{ sku: string }[]>("lines")) ?? []).map((line) => line.sku),
    ),
  },
});

const greeter = restate.service({
  name: "Greeter",
  handlers: {
    greet: restate.handlers.handler(
      { input: schema(z.string()), output: schema(z.string()) },
      async (_, name) => `Hello ${name}`,
    ),
    sort: restate.handlers.handler({ input: schema(Category), output: schema(Category) }, async (_, category) => category),
    anything: async (_: restate.Context, it: unknown) => it,
  },
});

const flow = restate.workflow({
  name: "Flow",
  handlers: {
    run: restate.handlers.workflow.workflow(
      { input: schema(Order), output: schema(z.string()) },
      async (_, { sku, size }) => `${sku} ${size}`,
    ),
  },
});

await host([shop, greeter, flow]);
