// Handlers that have the SDK send each message of the protocol.

import * as restate from "@restatedev/restate-sdk";
import { RestatePromise, TerminalError } from "@restatedev/restate-sdk";
import { host } from "./host.ts";

const { serde } = restate;
const json = { inputSerde: serde.json, outputSerde: serde.json };
const headers = { "x-tenant": "Mary" };

// What an operation gives, or the message with which it fails.
const outcome = (promise: Promise<unknown>) => promise.then((it) => it ?? null, (error: Error) => error.message);

const state = async (ctx: restate.ObjectContext) => {
  const seen: unknown[] = [await ctx.get("a")];
  ctx.set("a", 1);
  ctx.set("b", "");
  seen.push(await ctx.get("a"), (await ctx.stateKeys()).length);
  ctx.clear("a");
  seen.push(await ctx.get("a"));
  ctx.clearAll();
  return [...seen, (await ctx.stateKeys()).length];
};

const keep = async (ctx: restate.ObjectContext) => ctx.set("kept", "value");
const read = async (ctx: restate.ObjectContext) => [await ctx.get("kept"), await ctx.stateKeys(), await ctx.get("none")];

const eager = restate.object({ name: "Eager", handlers: { state, keep, read } });
const lazy = restate.object({ name: "Lazy", options: { enableLazyState: true }, handlers: { state, keep, read } });

let tries = 0;

const tour = restate.service({
  name: "Tour",
  handlers: {
    echo: async (_: restate.Context, it: unknown) => it,
    fail: async (_: restate.Context, message: string) => {
      throw new TerminalError(message, { errorCode: 418, metadata: { key: "value" } });
    },
    failOld: async (_: restate.Context, message: string) => {
      throw new TerminalError(message);
    },
    calls: async (ctx: restate.Context) => {
      const idempotencyKey = ctx.rand.uuidv4();
      const call = { service: "Tour", method: "echo", parameter: "called", headers, idempotencyKey, ...json };
      const called = [await ctx.genericCall(call), await ctx.genericCall({ service: "Eager", key: "k", method: "read", parameter: null, ...json })];
      const failed = await outcome(ctx.genericCall({ service: "Tour", method: "failOld", parameter: "no", ...json }));
      const sent = ctx.genericSend({ ...call, parameter: "sent", delay: 1, idempotencyKey: `${idempotencyKey}-sent` });
      ctx.genericSend({ service: "Eager", key: "k", method: "keep", parameter: null, inputSerde: serde.json });
      return [...called, failed, await ctx.attach(await sent.invocationId)];
    },
    steps: async (ctx: restate.Context) => {
      const fails = ctx.run("fails", () => {
        throw new TerminalError("no", { errorCode: 419 });
      });
      const both = await RestatePromise.allSettled([ctx.run("gives", () => "given"), fails]);
      await ctx.run("nothing", () => {});
      await ctx.sleep(1, "nap");
      return [both.length, await RestatePromise.race([ctx.sleep(60_000).map(() => "slept"), ctx.run(() => "ran")])];
    },
    retries: async (ctx: restate.Context) => {
      await ctx.run("progress", () => 1);
      tries += 1;
      const error = tries % 2 ? new restate.RetryableError("later", { retryAfter: 1 }) : new Error("again");
      error.stack = "the stack";
      if (tries % 3) throw error;
      return "done";
    },
    pauses: async (ctx: restate.Context) => {
      await ctx.run("pauses", () => {
        const error = new restate.PauseError("wait");
        error.stack = "the stack";
        throw error;
      });
    },
    awakeables: async (ctx: restate.Context) => {
      const [one, two] = [ctx.awakeable(), ctx.awakeable()];
      ctx.genericSend({ service: "Tour", method: "complete", parameter: [one.id, two.id], inputSerde: serde.json });
      return [await outcome(one.promise), await outcome(two.promise)];
    },
    complete: async (ctx: restate.Context, [one, two]: string[]) => {
      ctx.resolveAwakeable(one, "resolved");
      ctx.rejectAwakeable(two, "rejected");
    },
    signals: async (ctx: restate.Context) => {
      const parameter = ctx.request().id;
      ctx.genericSend({ service: "Tour", method: "signal", parameter, inputSerde: serde.json });
      return await RestatePromise.allSettled([ctx.signal("one"), ctx.signal("two")]).map((all) => all?.length);
    },
    signal: async (ctx: restate.Context, id: string) => {
      const target = ctx.invocation(restate.InvocationIdParser.fromString(id));
      target.signal("one").resolve("resolved");
      target.signal("two").reject("rejected");
    },
    cancels: async (ctx: restate.Context) => {
      const sent = ctx.genericSend({ service: "Tour", method: "forever", parameter: null, inputSerde: serde.json });
      const id = await sent.invocationId;
      ctx.cancel(id);
      return await outcome(ctx.attach(id));
    },
    forever: async (ctx: restate.Context) => await ctx.sleep({ days: 1 }),
  },
});

const flow = restate.workflow({
  name: "Flow",
  handlers: {
    run: async (ctx: restate.WorkflowContext) => {
      const before = (await ctx.promise("yes").peek()) ?? null;
      const both = [await outcome(ctx.promise("yes").get()), await outcome(ctx.promise("no").get())];
      return [before, ...both, await ctx.promise("yes").peek()];
    },
    decide: async (ctx: restate.WorkflowSharedContext) => {
      await ctx.promise("yes").resolve("resolved");
      await ctx.promise("no").reject("rejected");
      return await outcome(ctx.promise("no").resolve("too late"));
    },
  },
});

await host([eager, lazy, tour, flow]);
