// A function with an SDK's handlers, in several versions; `tests.integration.sdk` packs it.

import * as restate from "@restatedev/restate-sdk/lambda";

const VERSION = 1;

const json = { inputSerde: restate.serde.json, outputSerde: restate.serde.json };

const clerk = restate.service({
  name: "SdkClerk",
  handlers: {
    // Sleep between two steps.
    nap: async (ctx, milliseconds) => {
      const name = await ctx.run("fall asleep", () => "slept");
      await ctx.sleep(milliseconds);
      return await ctx.run("wake up", () => name);
    },
    // Wait for a signal, and tell on which versions.
    wait: async (ctx) => {
      const begun = await ctx.run("begin", () => VERSION);
      await ctx.signal("go");
      return [begun, VERSION];
    },
    // Call a handler in Python, which calls the SDK's counter.
    ask: async (ctx, key) => await ctx.genericCall({ service: "Relay", method: "count", parameter: key, ...json }),
    // Keep so many megabytes in the journal.
    carry: async (ctx, megabytes) => {
      for (let n = 0; n < megabytes; n++) await ctx.run(`piece ${n}`, () => "x".repeat(1_000_000));
      return megabytes;
    },
    // Give something that is another one each time.
    unique: async (ctx) => ctx.rand.uuidv4(),
  },
});

const counter = restate.object({
  name: "SdkCounter",
  handlers: {
    add: async (ctx, amount) => {
      const total = ((await ctx.get("total")) ?? 0) + amount;
      ctx.set("total", total);
      return total;
    },
    total: restate.handlers.object.shared(async (ctx) => (await ctx.get("total")) ?? 0),
  },
});

const lock = restate.object({
  name: "SdkLock",
  handlers: {
    // Hold the key, wait for a signal, and call another key.
    hold: async (ctx, other) => {
      await ctx.signal("go");
      return await ctx.genericCall({ service: "SdkLock", method: "touch", key: other, parameter: null, ...json });
    },
    touch: async () => "touched",
  },
});

export const handler = restate.endpoint().bind(clerk).bind(counter).bind(lock).handler();
