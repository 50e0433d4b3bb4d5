import dev.restate.sdk.DurableFuture;
import dev.restate.sdk.ObjectContext;
import dev.restate.sdk.SharedObjectContext;
import dev.restate.sdk.annotation.Handler;
import dev.restate.sdk.annotation.Name;
import dev.restate.sdk.annotation.Shared;
import dev.restate.sdk.annotation.VirtualObject;
import dev.restate.sdk.common.StateKey;
import dev.restate.sdk.common.TerminalException;
import dev.restate.sdk.common.TimeoutException;
import dev.restate.serde.TypeRef;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;

/** The service of the conformance suite that awaits what commands say. */
@VirtualObject
@Name("VirtualObjectCommandInterpreter")
public class Interpreter {
  static final StateKey<List<String>> RESULTS = StateKey.of("results", new TypeRef<List<String>>() {});

  public record Command(
      String type, Command command, List<Command> commands, String awakeableKey, String signalName, Long timeoutMillis,
      String value, String reason) {
    DurableFuture<String> begun(ObjectContext ctx) {
      return switch (type) {
        case "createAwakeable" -> newAwakeable(ctx);
        case "sleep" -> ctx.timer(Duration.ofMillis(timeoutMillis)).map(nothing -> "sleep");
        case "createSignal" -> ctx.signal(signalName, String.class);
        case "runReturns" -> ctx.runAsync("give", String.class, () -> value);
        default -> ctx.runAsync("fail", String.class, () -> { throw new TerminalException(reason); });
      };
    }

    DurableFuture<String> newAwakeable(ObjectContext ctx) {
      var awakeable = ctx.awakeable(String.class);
      ctx.set(StateKey.of("awk-" + awakeableKey, String.class), awakeable.id());
      return awakeable;
    }

    List<DurableFuture<String>> all(ObjectContext ctx) {
      return commands.stream().map(each -> each.begun(ctx)).toList();
    }
  }

  public record Commands(List<Command> commands) {}

  static int first(List<DurableFuture<String>> futures) {
    return DurableFuture.any(new ArrayList<DurableFuture<?>>(futures)).await();
  }

  static String firstSucceeded(List<DurableFuture<String>> futures) {
    var left = new ArrayList<>(futures);
    while (true) {
      var future = left.remove(first(left));
      try {
        return future.await();
      } catch (TerminalException error) {
        if (left.isEmpty()) throw error;
      }
    }
  }

  static String outcome(DurableFuture<String> future) {
    try {
      return "ok:" + future.await();
    } catch (TerminalException error) {
      return "err:" + error.getMessage();
    }
  }

  static String held(SharedObjectContext ctx, String key) {
    return ctx.get(StateKey.of("awk-" + key, String.class)).orElseThrow(() -> new TerminalException("no awakeable is registered"));
  }

  String interpreted(ObjectContext ctx, Command it) {
    switch (it.type()) {
      case "awaitOne":
        return it.command().begun(ctx).await();
      case "awaitAny", "awaitFirstCompleted":
        var futures = it.all(ctx);
        return futures.get(first(futures)).await();
      case "awaitAnySuccessful", "awaitFirstSucceededOrAllFailed":
        return firstSucceeded(it.all(ctx));
      case "awaitAllSucceededOrFirstFailed":
        var all = it.all(ctx);
        DurableFuture.all(new ArrayList<DurableFuture<?>>(all)).await();
        return String.join("|", all.stream().map(DurableFuture::await).toList());
      case "awaitAllCompleted":
        return String.join("|", it.all(ctx).stream().map(Interpreter::outcome).toList());
      case "awaitAwakeableOrTimeout":
        try {
          return it.newAwakeable(ctx).await(Duration.ofMillis(it.timeoutMillis()));
        } catch (TimeoutException error) {
          throw new TerminalException("await-timeout");
        }
      case "resolveAwakeable":
        resolveAwakeable(it);
        return "";
      case "rejectAwakeable":
        rejectAwakeable(it);
        return "";
      default:
        throw new TerminalException("no command " + it.type());
    }
  }

  @Handler
  public String interpretCommands(Commands it) {
    var ctx = Services.object();
    var output = "";
    for (var each : it.commands()) {
      output = interpreted(ctx, each);
      var kept = new ArrayList<>(ctx.get(RESULTS).orElse(List.of()));
      kept.add(output);
      ctx.set(RESULTS, kept);
    }
    return output;
  }

  @Handler
  @Shared
  public void resolveAwakeable(Command it) {
    var ctx = Services.object();
    ctx.awakeableHandle(held(ctx, it.awakeableKey())).resolve(String.class, it.value());
  }

  @Handler
  @Shared
  public void rejectAwakeable(Command it) {
    var ctx = Services.object();
    ctx.awakeableHandle(held(ctx, it.awakeableKey())).reject(it.reason());
  }

  @Handler
  @Shared
  public boolean hasAwakeable(String key) {
    return Services.object().get(StateKey.of("awk-" + key, String.class)).isPresent();
  }

  @Handler
  @Shared
  public List<String> getResults() {
    return Services.object().get(RESULTS).orElse(List.of());
  }
}
