// Handlers that have the SDK send each message of the protocol.

import dev.restate.common.Request;
import dev.restate.common.Target;
import dev.restate.sdk.Context;
import dev.restate.sdk.DurableFuture;
import dev.restate.sdk.ObjectContext;
import dev.restate.sdk.WorkflowContext;
import dev.restate.sdk.annotation.Handler;
import dev.restate.sdk.annotation.Name;
import dev.restate.sdk.annotation.Service;
import dev.restate.sdk.annotation.Shared;
import dev.restate.sdk.annotation.VirtualObject;
import dev.restate.sdk.annotation.Workflow;
import dev.restate.sdk.common.DurablePromiseKey;
import dev.restate.sdk.common.RetryPolicy;
import dev.restate.sdk.common.StateKey;
import dev.restate.sdk.common.TerminalException;
import dev.restate.serde.Serde;
import dev.restate.serde.TypeTag;
import java.time.Duration;
import java.util.List;
import java.util.Map;
import java.util.function.Supplier;

final class Tour {
  static final List<Object> ALL = List.of(new Eager(), new Lazy(), new Handlers(), new Flow());

  static final TypeTag<Void> NOTHING = Services.NOTHING;
  static final TypeTag<String> TEXT = Services.TEXT;

  /** Returns what an operation gives, or the message with which it fails. */
  static String outcome(Supplier<Object> operation) {
    try {
      return String.valueOf(operation.get());
    } catch (TerminalException error) {
      return error.getMessage();
    }
  }

  public abstract static class Keyed {
    static final StateKey<Integer> A = StateKey.of("a", Integer.class);
    static final StateKey<String> B = StateKey.of("b", String.class);
    static final StateKey<String> KEPT = StateKey.of("kept", String.class);

    @Handler
    public List<String> state() {
      var ctx = (ObjectContext) Context.current();
      var before = ctx.get(A);
      ctx.set(A, 1);
      ctx.set(B, "");
      var set = ctx.get(A);
      var names = ctx.stateKeys();
      ctx.clear(A);
      var cleared = ctx.get(A);
      ctx.clearAll();
      return List.of(before.toString(), set.toString(), names.toString(), cleared.toString(), ctx.stateKeys().toString());
    }

    @Handler
    public void keep() {
      ((ObjectContext) Context.current()).set(KEPT, "value");
    }

    @Handler
    public List<String> read() {
      var ctx = (ObjectContext) Context.current();
      var kept = ctx.get(KEPT).toString();
      return List.of(kept, ctx.stateKeys().toString(), ctx.get(StateKey.of("none", String.class)).toString());
    }
  }

  @VirtualObject
  public static class Eager extends Keyed {}

  @VirtualObject
  public static class Lazy extends Keyed {}

  @Service
  @Name("Tour")
  public static class Handlers {
    @Handler
    public String echo(String it) {
      return it;
    }

    @Handler
    public void fail(String message) {
      throw new TerminalException(418, message, Map.of("key", "value"));
    }

    @Handler
    public void failOld(String message) {
      throw new TerminalException(message);
    }

    @Handler
    public List<String> calls() {
      var ctx = Context.current();
      var key = ctx.random().nextUUID().toString();
      var echo = Target.service("Tour", "echo");
      var called = ctx.call(Request.of(echo, TEXT, TEXT, "called").header("x-tenant", "Mary").idempotencyKey(key)).await();
      ctx.call(Request.of(Target.virtualObject("Eager", "k", "read"), NOTHING, TypeTag.of(Serde.RAW), null)).await();
      var no = Request.of(Target.service("Tour", "failOld"), TEXT, NOTHING, "no");
      var failed = outcome(() -> ctx.call(no).await());
      var sent = ctx.send(
          Request.of(echo, TEXT, TEXT, "sent").header("x-tenant", "Mary").idempotencyKey(key + "-sent"), Duration.ofMillis(1));
      ctx.send(Request.of(Target.virtualObject("Eager", "k", "keep"), NOTHING, NOTHING, null));
      return List.of(called, failed, sent.attach().await());
    }

    @Handler
    public List<String> steps() {
      var ctx = Context.current();
      var gives = ctx.runAsync("gives", String.class, () -> "given");
      var fails = ctx.runAsync("fails", String.class, () -> {
        throw new TerminalException(419, "no");
      });
      var all = outcome(() -> DurableFuture.all(gives, fails).await());
      var one = outcome(gives::await);
      ctx.run("nothing", () -> {});
      ctx.timer("nap", Duration.ofMillis(1)).await();
      var slept = ctx.timer(Duration.ofMinutes(1));
      return List.of(all, one, DurableFuture.any(slept, ctx.runAsync("ran", String.class, () -> "ran")).await().toString());
    }

    @Handler
    public String retries() {
      var ctx = Context.current();
      ctx.run("progress", Integer.class, () -> 1);
      if (Services.tried("retries").incrementAndGet() % 3 != 0) throw new IllegalStateException("again");
      ctx.run("later", RetryPolicy.exponential(Duration.ofMillis(1), 1), () -> {
        if (Services.tried("later").incrementAndGet() % 2 != 0) throw new IllegalStateException("later");
      });
      return "done";
    }

    @Handler
    public List<String> awakeables() {
      var ctx = Context.current();
      var one = ctx.awakeable(String.class);
      var two = ctx.awakeable(String.class);
      ctx.send(Request.of(Target.service("Tour", "complete"), TypeTag.of(String[].class), NOTHING, new String[] {one.id(), two.id()}));
      return List.of(outcome(one::await), outcome(two::await));
    }

    @Handler
    public void complete(String[] ids) {
      var ctx = Context.current();
      ctx.awakeableHandle(ids[0]).resolve(String.class, "resolved");
      ctx.awakeableHandle(ids[1]).reject("rejected");
    }

    @Handler
    public List<String> signals() {
      var ctx = Context.current();
      ctx.send(Request.of(Target.service("Tour", "signal"), TEXT, NOTHING, ctx.request().invocationId().toString()));
      var one = ctx.signal("one", String.class);
      var two = ctx.signal("two", String.class);
      return List.of(outcome(one::await), outcome(two::await));
    }

    @Handler
    public void signal(String id) {
      var target = Context.current().invocationHandle(id);
      target.signal("one").resolve(String.class, "resolved");
      target.signal("two").reject("rejected");
    }

    @Handler
    public String cancels() {
      var ctx = Context.current();
      var sent = ctx.send(Request.of(Target.service("Tour", "forever"), NOTHING, NOTHING, null));
      sent.cancel();
      return outcome(() -> sent.attach().await());
    }

    @Handler
    public void forever() {
      Context.current().sleep(Duration.ofDays(1));
    }
  }

  @Workflow
  public static class Flow {
    static final DurablePromiseKey<String> YES = DurablePromiseKey.of("yes", String.class);
    static final DurablePromiseKey<String> NO = DurablePromiseKey.of("no", String.class);

    @Handler
    public List<String> run() {
      var ctx = (WorkflowContext) Context.current();
      var before = ctx.promise(YES).peek().isReady();
      var yes = outcome(() -> ctx.promise(YES).future().await());
      var no = outcome(() -> ctx.promise(NO).future().await());
      return List.of("" + before, yes, no, "" + ctx.promise(YES).peek().isReady());
    }

    @Handler
    @Shared
    public String decide() {
      var ctx = (WorkflowContext) Context.current();
      ctx.promiseHandle(YES).resolve("resolved");
      ctx.promiseHandle(NO).reject("rejected");
      return outcome(() -> {
        ctx.promiseHandle(NO).resolve("too late");
        return "";
      });
    }
  }
}
