// Services of the contracts that Restate's conformance suite uses, written with its TypeScript SDK.

import * as restate from "@restatedev/restate-sdk";
import { RestatePromise, TerminalError } from "@restatedev/restate-sdk";
import { host } from "./host.ts";

type Update = { oldValue: number; newValue: number };

const counter = restate.object({
  name: "Counter",
  handlers: {
    add: async (ctx: restate.ObjectContext, value: number): Promise<Update> => {
      const oldValue = (await ctx.get<number>("counter")) ?? 0;
      ctx.set("counter", oldValue + value);
      return { oldValue, newValue: oldValue + value };
    },
    addThenFail: async (ctx: restate.ObjectContext, value: number) => {
      ctx.set("counter", ((await ctx.get<number>("counter")) ?? 0) + value);
      throw new TerminalError(ctx.key);
    },
    get: restate.handlers.object.shared(
      async (ctx: restate.ObjectSharedContext) => (await ctx.get<number>("counter")) ?? 0,
    ),
    reset: async (ctx: restate.ObjectContext) => ctx.clear("counter"),
  },
});

const list = restate.object({
  name: "ListObject",
  handlers: {
    append: async (ctx: restate.ObjectContext, value: string) =>
      ctx.set("list", [...((await ctx.get<string[]>("list")) ?? []), value]),
    get: async (ctx: restate.ObjectContext) => (await ctx.get<string[]>("list")) ?? [],
    clear: async (ctx: restate.ObjectContext) => {
      const old = (await ctx.get<string[]>("list")) ?? [];
      ctx.clear("list");
      return old;
    },
  },
});

const map = restate.object({
  name: "MapObject",
  handlers: {
    set: async (ctx: restate.ObjectContext, entry: { key: string; value: string }) => ctx.set(entry.key, entry.value),
    get: async (ctx: restate.ObjectContext, key: string) => (await ctx.get<string>(key)) ?? "",
    clearAll: async (ctx: restate.ObjectContext) => {
      const entries = [];
      for (const key of await ctx.stateKeys()) entries.push({ key, value: await ctx.get<string>(key) });
      ctx.clearAll();
      return entries;
    },
  },
});

type ProxyRequest = {
  serviceName: string;
  virtualObjectKey?: string;
  handlerName: string;
  message: number[];
  delayMillis?: number;
  idempotencyKey?: string;
};

const called = (ctx: restate.Context, request: ProxyRequest) =>
  ctx.genericCall({
    service: request.serviceName,
    method: request.handlerName,
    key: request.virtualObjectKey,
    parameter: new Uint8Array(request.message),
    inputSerde: restate.serde.binary,
    outputSerde: restate.serde.binary,
    idempotencyKey: request.idempotencyKey,
  });

const sent = (ctx: restate.Context, request: ProxyRequest) =>
  ctx.genericSend({
    service: request.serviceName,
    method: request.handlerName,
    key: request.virtualObjectKey,
    parameter: new Uint8Array(request.message),
    inputSerde: restate.serde.binary,
    delay: request.delayMillis,
    idempotencyKey: request.idempotencyKey,
  });

const proxy = restate.service({
  name: "Proxy",
  handlers: {
    call: async (ctx: restate.Context, request: ProxyRequest) => Array.from(await called(ctx, request)),
    oneWayCall: async (ctx: restate.Context, request: ProxyRequest) => await sent(ctx, request).invocationId,
    manyCalls: async (
      ctx: restate.Context,
      requests: { proxyRequest: ProxyRequest; oneWayCall: boolean; awaitAtTheEnd: boolean }[],
    ) => {
      const waits = [];
      for (const { proxyRequest, oneWayCall, awaitAtTheEnd } of requests) {
        if (oneWayCall) sent(ctx, proxyRequest);
        else {
          const call = called(ctx, proxyRequest);
          if (awaitAtTheEnd) waits.push(call);
        }
      }
      await RestatePromise.all(waits);
    },
  },
});

const utils = restate.service({
  name: "TestUtilsService",
  handlers: {
    echo: async (_: restate.Context, input: string) => input,
    uppercaseEcho: async (_: restate.Context, input: string) => input.toUpperCase(),
    echoHeaders: async (ctx: restate.Context) => Object.fromEntries(ctx.request().headers.entries()),
    echoIdempotencyKey: async (ctx: restate.Context) => ctx.request().idempotencyKey ?? null,
    rawEcho: restate.handlers.handler(
      { input: restate.serde.binary, output: restate.serde.binary, accept: "*/*" },
      async (_: restate.Context, input: Uint8Array) => input,
    ),
    countExecutedSideEffects: async (ctx: restate.Context, increments: number) => {
      let ran = 0;
      for (let each = 0; each < increments; each++) {
        await ctx.run("count", () => {
          ran += 1;
        });
      }
      return ran;
    },
    cancelInvocation: async (ctx: restate.Context, id: string) => ctx.cancel(restate.InvocationIdParser.fromString(id)),
    resolveSignal: async (ctx: restate.Context, request: { invocationId: string; signalName: string; value: string }) =>
      ctx.invocation(restate.InvocationIdParser.fromString(request.invocationId)).signal(request.signalName).resolve(request.value),
    rejectSignal: async (ctx: restate.Context, request: { invocationId: string; signalName: string; reason: string }) =>
      ctx.invocation(restate.InvocationIdParser.fromString(request.invocationId)).signal(request.signalName).reject(request.reason),
    sleepConcurrently: async (ctx: restate.Context, millis: number[]) => {
      await RestatePromise.all(millis.map((each) => ctx.sleep(each)));
    },
  },
});

const holder = restate.object({
  name: "AwakeableHolder",
  handlers: {
    hold: async (ctx: restate.ObjectContext, id: string) => ctx.set("id", id),
    hasAwakeable: async (ctx: restate.ObjectContext) => (await ctx.get<string>("id")) !== null,
    unlock: async (ctx: restate.ObjectContext, payload: string) => {
      const id = await ctx.get<string>("id");
      if (id === null) throw new TerminalError("no awakeable is registered");
      ctx.resolveAwakeable(id, payload);
      ctx.clear("id");
    },
  },
});

const waiting = restate.workflow({
  name: "BlockAndWaitWorkflow",
  handlers: {
    run: async (ctx: restate.WorkflowContext, input: string) => {
      ctx.set("state", input);
      const output = await ctx.promise<string>("unblock");
      if ((await ctx.promise<string>("unblock").peek()) === undefined) throw new TerminalError("it should be resolved");
      return output;
    },
    unblock: async (ctx: restate.WorkflowSharedContext, output: string) => ctx.promise<string>("unblock").resolve(output),
    getState: async (ctx: restate.WorkflowSharedContext) => await ctx.get<string>("state"),
  },
});

const blocking = restate.object({
  name: "CancelTestBlockingService",
  handlers: {
    block: async (ctx: restate.ObjectContext, operation: string) => {
      const { id, promise } = ctx.awakeable<string>();
      await ctx.objectClient(holder, ctx.key).hold(id);
      await promise;
      if (operation === "CALL") await ctx.genericCall({ service: "CancelTestBlockingService", method: "block", key: `${ctx.key}-inner`, parameter: operation, inputSerde: restate.serde.json });
      else if (operation === "SLEEP") await ctx.sleep({ days: 1024 });
      else await ctx.awakeable().promise;
    },
    isUnlocked: async () => {},
  },
});

const runner = restate.object({
  name: "CancelTestRunner",
  handlers: {
    startTest: async (ctx: restate.ObjectContext, operation: string) => {
      try {
        await ctx.objectClient(blocking, ctx.key).block(operation);
      } catch (error) {
        if (!(error instanceof TerminalError) || error.code !== 409) throw error;
        ctx.set("state", true);
      }
    },
    verifyTest: async (ctx: restate.ObjectContext) => (await ctx.get<boolean>("state")) ?? false,
  },
});

const singleton = restate.object({
  name: "KillTestSingleton",
  handlers: {
    recursiveCall: async (ctx: restate.ObjectContext) => {
      const { id, promise } = ctx.awakeable();
      ctx.objectSendClient(holder, ctx.key).hold(id);
      await promise;
      await ctx.genericCall({ service: "KillTestSingleton", method: "recursiveCall", key: ctx.key, parameter: null, inputSerde: restate.serde.json });
    },
    isUnlocked: async () => {},
  },
});

const killRunner = restate.object({
  name: "KillTestRunner",
  handlers: {
    startCallTree: async (ctx: restate.ObjectContext) => ctx.objectClient(singleton, ctx.key).recursiveCall(),
  },
});

type FailureToPropagate = { errorMessage: string; metadata?: Record<string, string> };
const tries: Record<string, number> = {};
const tried = (name: string) => (tries[name] = (tries[name] ?? 0) + 1);
const terminal = ({ errorMessage, metadata }: FailureToPropagate) => new TerminalError(errorMessage, { metadata });

const failing = restate.object({
  name: "Failing",
  handlers: {
    terminallyFailingCall: async (_: restate.ObjectContext, failure: FailureToPropagate): Promise<void> => {
      throw terminal(failure);
    },
    callTerminallyFailingCall: async (ctx: restate.ObjectContext, failure: FailureToPropagate) => {
      await ctx.genericCall({ service: "Failing", method: "terminallyFailingCall", key: ctx.rand.uuidv4(), parameter: failure, inputSerde: restate.serde.json });
      throw new Error("the call should have failed");
    },
    failingCallWithEventualSuccess: async () => {
      const count = tried("handler");
      if (count < 4) throw new Error(`failure ${count}`);
      tries.handler = 0;
      return count;
    },
    terminallyFailingSideEffect: async (ctx: restate.ObjectContext, failure: FailureToPropagate) => {
      await ctx.run("effect", () => {
        throw terminal(failure);
      });
      throw new Error("the step should have failed");
    },
    sideEffectSucceedsAfterGivenAttempts: async (ctx: restate.ObjectContext, minimum: number) =>
      await ctx.run(
        "effect",
        () => {
          const count = tried(ctx.key);
          if (count < minimum) throw new Error(`failure ${count}`);
          return count;
        },
        { initialRetryInterval: 1, maxRetryAttempts: minimum + 1, retryIntervalFactor: 1 },
      ),
    sideEffectFailsAfterGivenAttempts: async (ctx: restate.ObjectContext, attempts: number) => {
      try {
        await ctx.run(
          "effect",
          () => {
            throw new Error(`failure ${tried(ctx.key)}`);
          },
          { initialRetryInterval: 1, maxRetryAttempts: attempts, retryIntervalFactor: 1 },
        );
      } catch (error) {
        if (error instanceof TerminalError) return tries[ctx.key];
        throw error;
      }
      throw new Error("the step should have failed");
    },
  },
});

const nondeterministic = restate.object({
  name: "NonDeterministic",
  handlers: {
    setDifferentKey: async (ctx: restate.ObjectContext) => {
      ctx.set(tried(`${ctx.key}/set`) > 1 ? "b" : "a", "value");
      await ctx.sleep(100);
      ctx.objectSendClient(counter, ctx.key).add(1);
    },
    callDifferentMethod: async (ctx: restate.ObjectContext) => {
      if (tried(`${ctx.key}/call`) > 1) await ctx.objectClient(counter, "abc").get();
      else await ctx.objectClient(counter, "abc").reset();
      await ctx.sleep(100);
      ctx.objectSendClient(counter, ctx.key).add(1);
    },
  },
});

type AwaitableCommand =
  | { type: "createAwakeable"; awakeableKey: string }
  | { type: "sleep"; timeoutMillis: number }
  | { type: "createSignal"; signalName: string }
  | { type: "runReturns"; value: string }
  | { type: "runThrowTerminalException"; reason: string };

type Command = {
  type: string;
  command?: AwaitableCommand;
  commands?: AwaitableCommand[];
  awakeableKey?: string;
  timeoutMillis?: number;
  value?: string;
  reason?: string;
};

const promised = (ctx: restate.ObjectContext, command: AwaitableCommand): RestatePromise<string> => {
  switch (command.type) {
    case "createAwakeable": {
      const { id, promise } = ctx.awakeable<string>();
      ctx.set(`awk-${command.awakeableKey}`, id);
      return promise;
    }
    case "sleep":
      return ctx.sleep(command.timeoutMillis).map(() => "sleep");
    case "createSignal":
      return ctx.signal<string>(command.signalName);
    case "runReturns":
      return ctx.run("give", async () => command.value);
    case "runThrowTerminalException":
      return ctx.run<string>("fail", () => {
        throw new TerminalError(command.reason);
      });
  }
};

const held = async (ctx: restate.ObjectSharedContext, key: string) => {
  const id = await ctx.get<string>(`awk-${key}`);
  if (id === null) throw new TerminalError("no awakeable is registered");
  return id;
};

const interpreted = async (ctx: restate.ObjectContext, command: Command): Promise<string> => {
  const promises = () => (command.commands ?? []).map((each) => promised(ctx, each));
  switch (command.type) {
    case "awaitOne":
      return await promised(ctx, command.command!);
    case "awaitAny":
    case "awaitFirstCompleted":
      return await RestatePromise.race(promises());
    case "awaitAnySuccessful":
    case "awaitFirstSucceededOrAllFailed":
      return await RestatePromise.any(promises());
    case "awaitAllSucceededOrFirstFailed":
      return (await RestatePromise.all(promises())).join("|");
    case "awaitAllCompleted":
      return (await RestatePromise.allSettled(promises()))
        .map((each) => (each.status === "fulfilled" ? `ok:${each.value}` : `err:${(each.reason as Error).message}`))
        .join("|");
    case "awaitAwakeableOrTimeout":
      try {
        const { id, promise } = ctx.awakeable<string>();
        ctx.set(`awk-${command.awakeableKey!}`, id);
        return await promise.orTimeout(command.timeoutMillis!);
      } catch (error) {
        if (error instanceof restate.TimeoutError) throw new TerminalError("await-timeout");
        throw error;
      }
    case "resolveAwakeable":
      ctx.resolveAwakeable(await held(ctx, command.awakeableKey!), command.value);
      return "";
    case "rejectAwakeable":
      ctx.rejectAwakeable(await held(ctx, command.awakeableKey!), command.reason!);
      return "";
    default:
      throw new TerminalError(`no command ${command.type}`);
  }
};

const interpreter = restate.object({
  name: "VirtualObjectCommandInterpreter",
  handlers: {
    interpretCommands: async (ctx: restate.ObjectContext, request: { commands: Command[] }) => {
      let result = "";
      for (const command of request.commands) {
        result = await interpreted(ctx, command);
        ctx.set("results", [...((await ctx.get<string[]>("results")) ?? []), result]);
      }
      return result;
    },
    resolveAwakeable: restate.handlers.object.shared(
      async (ctx: restate.ObjectSharedContext, request: { awakeableKey: string; value: string }) =>
        ctx.resolveAwakeable(await held(ctx, request.awakeableKey), request.value),
    ),
    rejectAwakeable: restate.handlers.object.shared(
      async (ctx: restate.ObjectSharedContext, request: { awakeableKey: string; reason: string }) =>
        ctx.rejectAwakeable(await held(ctx, request.awakeableKey), request.reason),
    ),
    hasAwakeable: restate.handlers.object.shared(
      async (ctx: restate.ObjectSharedContext, key: string) => (await ctx.get<string>(`awk-${key}`)) !== null,
    ),
    getResults: restate.handlers.object.shared(
      async (ctx: restate.ObjectSharedContext) => (await ctx.get<string[]>("results")) ?? [],
    ),
  },
});

const deadlocked = restate.object({
  name: "Deadlocked",
  handlers: {
    lock: async (ctx: restate.ObjectContext, other: string): Promise<string> => {
      await ctx.sleep(50);
      return await ctx.genericCall({ service: "Deadlocked", method: "lock", key: other, parameter: ctx.key, inputSerde: restate.serde.json, outputSerde: restate.serde.json });
    },
  },
});

const services = [
  counter, list, map, proxy, utils, holder, waiting, runner, blocking, killRunner, singleton, failing,
  nondeterministic, interpreter, deadlocked,
];

await host(services);
