// How services communicate: requests, messages, delays, idempotency keys, generic calls, workflows, and a deadlock.

import * as restate from "@restatedev/restate-sdk";
import { host } from "./host.ts";

const myService = restate.service({
  name: "MyService",
  handlers: {
    myHandler: async (_: restate.Context, name: string) => `Hello ${name}`,
  },
});

const myObject = restate.object({
  name: "MyObject",
  handlers: {
    myHandler: async (ctx: restate.ObjectContext, name: string) => {
      const count = ((await ctx.get<number>("count")) ?? 0) + 1;
      ctx.set("count", count);
      return `${name} came ${count} times to ${ctx.key}`;
    },
    count: restate.handlers.object.shared(
      async (ctx: restate.ObjectSharedContext) => (await ctx.get<number>("count")) ?? 0,
    ),
  },
});

const myWorkflow = restate.workflow({
  name: "MyWorkflow",
  handlers: {
    run: async (ctx: restate.WorkflowContext, request: string) => `${request}: ${await ctx.promise<string>("approval")}`,
    interactWithWorkflow: async (ctx: restate.WorkflowSharedContext, answer: string) =>
      ctx.promise<string>("approval").resolve(answer),
  },
});

const caller = restate.service({
  name: "Caller",
  handlers: {
    requestResponse: async (ctx: restate.Context, name: string) => {
      const service = await ctx.serviceClient(myService).myHandler(name);
      const object = await ctx.objectClient(myObject, name).myHandler("Mary");
      const run = ctx.workflowClient(myWorkflow, name).run("May I?");
      await ctx.workflowClient(myWorkflow, name).interactWithWorkflow("yes");
      return [service, object, await run];
    },
    generic: async (ctx: restate.Context, name: string) =>
      await ctx.genericCall({
        service: "MyObject",
        method: "myHandler",
        key: name,
        parameter: "John",
        inputSerde: restate.serde.json,
        outputSerde: restate.serde.json,
      }),
    messages: async (ctx: restate.Context, name: string) => {
      ctx.serviceSendClient(myService).myHandler(name);
      ctx.objectSendClient(myObject, name).myHandler("Mary");
      ctx.objectSendClient(myObject, name).myHandler("John", restate.rpc.sendOpts({ delay: { milliseconds: 300 } }));
      ctx.genericSend({
        service: "MyObject",
        method: "myHandler",
        key: name,
        parameter: "Anna",
        inputSerde: restate.serde.json,
      });
    },
    idempotent: async (ctx: restate.Context, name: string) => {
      const options = restate.rpc.sendOpts({ idempotencyKey: `once-${name}` });
      const first = ctx.objectSendClient(myObject, name).myHandler("Mary", options);
      ctx.objectSendClient(myObject, name).myHandler("Mary", options);
      return await ctx.attach<string>(await first.invocationId);
    },
    cancels: async (ctx: restate.Context, name: string) => {
      const run = ctx.workflowSendClient(myWorkflow, name).run("May I?");
      const id = await run.invocationId;
      ctx.cancel(id);
      return id;
    },
  },
});

// Two handlers that hold a key and call each other's.
const account = restate.object({
  name: "Account",
  handlers: {
    transfer: async (ctx: restate.ObjectContext, to: string): Promise<string> => {
      await ctx.signal<string>("go");
      return await ctx.objectClient(account, to).deposit(ctx.key);
    },
    deposit: async (ctx: restate.ObjectContext, from: string) => `${ctx.key} has got it from ${from}`,
  },
});

await host([myService, myObject, myWorkflow, caller, account]);
