// Services of the contracts that Restate's conformance suite uses, written with its Java SDK.

import dev.restate.common.Request;
import dev.restate.common.RequestBuilder;
import dev.restate.common.Target;
import dev.restate.sdk.Context;
import dev.restate.sdk.DurableFuture;
import dev.restate.sdk.InvocationHandle;
import dev.restate.sdk.ObjectContext;
import dev.restate.sdk.WorkflowContext;
import dev.restate.sdk.annotation.Accept;
import dev.restate.sdk.annotation.Handler;
import dev.restate.sdk.annotation.Raw;
import dev.restate.sdk.annotation.Service;
import dev.restate.sdk.annotation.Shared;
import dev.restate.sdk.annotation.VirtualObject;
import dev.restate.sdk.annotation.Workflow;
import dev.restate.sdk.common.DurablePromiseKey;
import dev.restate.sdk.common.RetryPolicy;
import dev.restate.sdk.common.StateKey;
import dev.restate.sdk.common.TerminalException;
import dev.restate.serde.Serde;
import dev.restate.serde.TypeRef;
import dev.restate.serde.TypeTag;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.atomic.AtomicInteger;

final class Services {
  static final List<Object> ALL =
      List.of(
          new Counter(), new ListObject(), new MapObject(), new Proxy(), new TestUtilsService(), new AwakeableHolder(),
          new BlockAndWaitWorkflow(), new CancelTestRunner(), new CancelTestBlockingService(), new KillTestRunner(),
          new KillTestSingleton(), new Failing(), new NonDeterministic(), new Interpreter(),
          new Deadlocked());

  static final TypeTag<Void> NOTHING = TypeTag.of(Serde.VOID);
  static final TypeTag<String> TEXT = TypeTag.of(String.class);

  static final Map<String, AtomicInteger> TRIED = new ConcurrentHashMap<>();

  static AtomicInteger tried(String name) {
    return TRIED.computeIfAbsent(name, each -> new AtomicInteger());
  }

  static ObjectContext object() {
    return (ObjectContext) Context.current();
  }

  static WorkflowContext flow() {
    return (WorkflowContext) Context.current();
  }

  static <I, O> RequestBuilder<I, O> request(Target target, Class<O> output, Class<I> type, I input) {
    return Request.of(target, TypeTag.of(type), TypeTag.of(output), input);
  }

  static <I, O> O call(Target target, Class<O> output, Class<I> type, I input) {
    return Context.current().call(request(target, output, type, input)).await();
  }

  static void json(Target target, String input) {
    Context.current().call(Request.of(target, TypeTag.of(String.class),
        NOTHING, input)).await();
  }

  // --- state

  @VirtualObject
  public static class Counter {
    static final StateKey<Integer> COUNTER = StateKey.of("counter", Integer.class);

    public record Update(int oldValue, int newValue) {}

    @Handler
    public Update add(int value) {
      var ctx = object();
      int old = ctx.get(COUNTER).orElse(0);
      ctx.set(COUNTER, old + value);
      return new Update(old, old + value);
    }

    @Handler
    public void addThenFail(int value) {
      add(value);
      throw new TerminalException(object().key());
    }

    @Handler
    @Shared
    public int get() {
      return object().get(COUNTER).orElse(0);
    }

    @Handler
    public void reset() {
      object().clear(COUNTER);
    }
  }

  @VirtualObject
  public static class ListObject {
    static final StateKey<List<String>> LIST = StateKey.of("list", new TypeRef<List<String>>() {});

    @Handler
    public void append(String value) {
      var values = new ArrayList<>(get());
      values.add(value);
      object().set(LIST, values);
    }

    @Handler
    public List<String> get() {
      return object().get(LIST).orElse(List.of());
    }

    @Handler
    public List<String> clear() {
      var values = get();
      object().clear(LIST);
      return values;
    }
  }

  @VirtualObject
  public static class MapObject {
    public record Entry(String key, String value) {}

    @Handler
    public void set(Entry entry) {
      object().set(StateKey.of(entry.key(), String.class), entry.value());
    }

    @Handler
    public String get(String key) {
      return object().get(StateKey.of(key, String.class)).orElse("");
    }

    @Handler
    public List<Entry> clearAll() {
      var ctx = object();
      var entries = ctx.stateKeys().stream().map(key -> new Entry(key, get(key))).toList();
      ctx.clearAll();
      return entries;
    }
  }

  // --- calls

  @Service
  public static class Proxy {
    public record ProxyRequest(
        String serviceName, String virtualObjectKey, String handlerName, int[] message, Integer delayMillis, String idempotencyKey) {
      RequestBuilder<byte[], byte[]> request() {
        var target =
            virtualObjectKey == null
                ? Target.service(serviceName, handlerName)
                : Target.virtualObject(serviceName, virtualObjectKey, handlerName);
        var body = new byte[message.length];
        for (int each = 0; each < body.length; each++) body[each] = (byte) message[each];
        var request = Request.of(target, body);
        return idempotencyKey == null ? request : request.idempotencyKey(idempotencyKey);
      }

      DurableFuture<byte[]> begun() {
        return Context.current().call(request());
      }

      InvocationHandle<byte[]> sent() {
        var ctx = Context.current();
        return delayMillis == null ? ctx.send(request()) : ctx.send(request(), Duration.ofMillis(delayMillis));
      }
    }

    public record ManyCallRequest(ProxyRequest proxyRequest, boolean oneWayCall, boolean awaitAtTheEnd) {}

    @Handler
    public int[] call(ProxyRequest request) {
      var output = request.begun().await();
      var numbers = new int[output.length];
      for (int each = 0; each < output.length; each++) numbers[each] = output[each] & 0xff;
      return numbers;
    }

    @Handler
    public String oneWayCall(ProxyRequest request) {
      return request.sent().invocationId();
    }

    @Handler
    public void manyCalls(List<ManyCallRequest> requests) {
      var waits = new ArrayList<DurableFuture<?>>();
      for (var each : requests) {
        if (each.oneWayCall()) {
          each.proxyRequest().sent();
        } else {
          var call = each.proxyRequest().begun();
          if (each.awaitAtTheEnd()) waits.add(call);
        }
      }
      if (!waits.isEmpty()) DurableFuture.all(waits).await();
    }
  }

  @Service
  public static class TestUtilsService {
    public record SignalRequest(String invocationId, String signalName, String value, String reason) {}

    @Handler
    public String echo(String input) {
      return input;
    }

    @Handler
    public String uppercaseEcho(String input) {
      return input.toUpperCase();
    }

    @Handler
    public Map<String, String> echoHeaders() {
      return Context.current().request().headers();
    }

    @Handler
    public String echoIdempotencyKey() {
      return Context.current().request().idempotencyKey();
    }

    @Handler
    @Raw
    public byte[] rawEcho(@Accept("*/*") @Raw byte[] input) {
      return input;
    }

    @Handler
    public int countExecutedSideEffects(int increments) {
      var ran = new AtomicInteger();
      for (int each = 0; each < increments; each++) Context.current().run("count", () -> { ran.incrementAndGet(); });
      return ran.get();
    }

    @Handler
    public void cancelInvocation(String id) {
      Context.current().invocationHandle(id).cancel();
    }

    @Handler
    public void resolveSignal(SignalRequest it) {
      Context.current().invocationHandle(it.invocationId()).signal(it.signalName()).resolve(String.class, it.value());
    }

    @Handler
    public void rejectSignal(SignalRequest it) {
      Context.current().invocationHandle(it.invocationId()).signal(it.signalName()).reject(it.reason());
    }

    @Handler
    public void sleepConcurrently(List<Long> millis) {
      var ctx = Context.current();
      var sleeps = new ArrayList<DurableFuture<?>>();
      for (long each : millis) sleeps.add(ctx.timer(Duration.ofMillis(each)));
      DurableFuture.all(sleeps).await();
    }
  }

  // --- cancel, kill, deadlocks

  @VirtualObject
  public static class AwakeableHolder {
    static final StateKey<String> ID = StateKey.of("id", String.class);

    @Handler
    public void hold(String id) {
      object().set(ID, id);
    }

    @Handler
    public boolean hasAwakeable() {
      return object().get(ID).isPresent();
    }

    @Handler
    public void unlock(String payload) {
      var ctx = object();
      var id = ctx.get(ID).orElseThrow(() -> new TerminalException("no awakeable is registered"));
      ctx.awakeableHandle(id).resolve(String.class, payload);
      ctx.clear(ID);
    }
  }

  @VirtualObject
  public static class CancelTestBlockingService {
    @Handler
    public void block(String operation) {
      var ctx = object();
      var awakeable = ctx.awakeable(String.class);
      json(Target.virtualObject("AwakeableHolder", ctx.key(), "hold"), awakeable.id());
      awakeable.await();
      switch (operation) {
        case "CALL" -> json(Target.virtualObject("CancelTestBlockingService", ctx.key() + "-inner", "block"), operation);
        case "SLEEP" -> ctx.sleep(Duration.ofDays(1024));
        default -> ctx.awakeable(String.class).await();
      }
    }

    @Handler
    public void isUnlocked() {}
  }

  @VirtualObject
  public static class CancelTestRunner {
    static final StateKey<Boolean> STATE = StateKey.of("state", Boolean.class);

    @Handler
    public void startTest(String operation) {
      var ctx = object();
      try {
        ctx.call(Request.of(Target.virtualObject("CancelTestBlockingService", ctx.key(), "block"),
            TEXT, NOTHING, operation)).await();
      } catch (TerminalException error) {
        if (error.getCode() != 409) throw error;
        ctx.set(STATE, true);
      }
    }

    @Handler
    public boolean verifyTest() {
      return object().get(STATE).orElse(false);
    }
  }

  static void callVoid(String service, String key, String handler) {
    Context.current().call(Request.of(Target.virtualObject(service, key, handler),
        NOTHING, NOTHING, null)).await();
  }

  @VirtualObject
  public static class KillTestSingleton {
    @Handler
    public void recursiveCall() {
      var ctx = object();
      var awakeable = ctx.awakeable(String.class);
      ctx.send(request(Target.virtualObject("AwakeableHolder", ctx.key(), "hold"), Object.class, String.class, awakeable.id()));
      awakeable.await();
      callVoid("KillTestSingleton", ctx.key(), "recursiveCall");
    }

    @Handler
    public void isUnlocked() {}
  }

  @VirtualObject
  public static class KillTestRunner {
    @Handler
    public void startCallTree() {
      callVoid("KillTestSingleton", object().key(), "recursiveCall");
    }
  }

  @VirtualObject
  public static class Deadlocked {
    @Handler
    public String lock(String other) {
      var ctx = object();
      ctx.sleep(Duration.ofMillis(50));
      return call(Target.virtualObject("Deadlocked", other, "lock"), String.class, String.class, ctx.key());
    }
  }

  // --- workflows

  @Workflow
  public static class BlockAndWaitWorkflow {
    static final StateKey<String> STATE = StateKey.of("state", String.class);
    static final DurablePromiseKey<String> UNBLOCK = DurablePromiseKey.of("unblock", String.class);

    @Handler
    public String run(String input) {
      var ctx = flow();
      ctx.set(STATE, input);
      var output = ctx.promise(UNBLOCK).future().await();
      if (!ctx.promise(UNBLOCK).peek().isReady()) throw new TerminalException("it should be resolved");
      return output;
    }

    @Handler
    @Shared
    public void unblock(String output) {
      flow().promiseHandle(UNBLOCK).resolve(output);
    }

    @Handler
    @Shared
    public String getState() {
      return flow().get(STATE).orElse(null);
    }
  }

  // --- failures

  @VirtualObject
  public static class Failing {
    public record Failure(String errorMessage, Map<String, String> metadata) {
      TerminalException terminal() {
        return metadata == null ? new TerminalException(errorMessage) : new TerminalException(errorMessage, metadata);
      }
    }

    @Handler
    public void terminallyFailingCall(Failure failure) {
      throw failure.terminal();
    }

    @Handler
    public void callTerminallyFailingCall(Failure failure) {
      var ctx = object();
      var key = ctx.random().nextUUID().toString();
      call(Target.virtualObject("Failing", key, "terminallyFailingCall"), Object.class, Failure.class, failure);
      throw new IllegalStateException("the call should have failed");
    }

    @Handler
    public int failingCallWithEventualSuccess() {
      int count = tried("handler").incrementAndGet();
      if (count < 4) throw new IllegalStateException("failure " + count);
      tried("handler").set(0);
      return count;
    }

    @Handler
    public void terminallyFailingSideEffect(Failure failure) {
      Context.current().run("effect", () -> { throw failure.terminal(); });
      throw new IllegalStateException("the step should have failed");
    }

    static RetryPolicy attempts(int maximum) {
      return RetryPolicy.exponential(Duration.ofMillis(1), 1).setMaxAttempts(maximum);
    }

    @Handler
    public int sideEffectSucceedsAfterGivenAttempts(int minimum) {
      var ctx = object();
      var tries = tried(ctx.key());
      return ctx.run("effect", Integer.class, attempts(minimum + 1), () -> {
        int count = tries.incrementAndGet();
        if (count < minimum) throw new IllegalStateException("failure " + count);
        return count;
      });
    }

    @Handler
    public int sideEffectFailsAfterGivenAttempts(int maximum) {
      var ctx = object();
      var tries = tried(ctx.key());
      try {
        ctx.run("effect", attempts(maximum), () -> { throw new IllegalStateException("failure " + tries.incrementAndGet()); });
      } catch (TerminalException error) {
        return tries.get();
      }
      throw new IllegalStateException("the step should have failed");
    }
  }

  @VirtualObject
  public static class NonDeterministic {
    static void finish(ObjectContext ctx) {
      ctx.sleep(Duration.ofMillis(100));
      ctx.send(request(Target.virtualObject("Counter", ctx.key(), "add"), Object.class, Integer.class, 1));
    }

    @Handler
    public void setDifferentKey() {
      var ctx = object();
      var name = tried(ctx.key() + "/set").incrementAndGet() > 1 ? "b" : "a";
      ctx.set(StateKey.of(name, String.class), "value");
      finish(ctx);
    }

    @Handler
    public void callDifferentMethod() {
      var ctx = object();
      var method = tried(ctx.key() + "/call").incrementAndGet() > 1 ? "get" : "reset";
      callVoid("Counter", "abc", method);
      finish(ctx);
    }
  }
}
