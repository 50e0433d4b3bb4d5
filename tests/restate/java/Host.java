// Hosts a program's services as a Lambda function's handler. It gets an event per line of stdin, and writes an answer
// per line of stdout. Events are handled at once, as by concurrent sandboxes.

import com.amazonaws.services.lambda.runtime.Context;
import com.amazonaws.services.lambda.runtime.events.APIGatewayProxyRequestEvent;
import com.fasterxml.jackson.core.type.TypeReference;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import dev.restate.sdk.endpoint.Endpoint;
import dev.restate.sdk.lambda.BaseRestateLambdaHandler;
import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.lang.reflect.Proxy;
import java.util.List;
import java.util.Map;
import java.util.concurrent.Executors;

public final class Host extends BaseRestateLambdaHandler {
  private static final ObjectMapper JSON = new ObjectMapper();
  private static final Context CONTEXT =
      (Context) Proxy.newProxyInstance(
          Host.class.getClassLoader(), new Class<?>[] {Context.class}, (proxy, method, arguments) -> "request");

  private static List<Object> services; // register() is called by the constructor of the base class

  @Override
  public void register(Endpoint.Builder builder) {
    for (var each : services) {
      builder.bind(each, options -> options.enableLazyState(each instanceof Tour.Lazy));
    }
  }

  private Object handle(JsonNode given) {
    var event = new APIGatewayProxyRequestEvent();
    event.setPath(given.get("path").asText());
    event.setHeaders(JSON.convertValue(given.get("headers"), new TypeReference<Map<String, String>>() {}));
    event.setIsBase64Encoded(given.path("isBase64Encoded").asBoolean());
    if (!given.path("body").asText().isEmpty()) event.setBody(given.get("body").asText());
    try {
      return handleRequest(event, CONTEXT);
    } catch (RuntimeException error) {
      return Map.of("errorType", error.getClass().getName(), "errorMessage", String.valueOf(error.getMessage()));
    }
  }

  public static void main(String[] arguments) throws IOException {
    var answers = System.out;
    System.setOut(System.err); // what the SDK logs
    services = arguments[0].equals("tour") ? Tour.ALL : Services.ALL;
    var host = new Host();
    var threads = Executors.newCachedThreadPool();
    var events = new BufferedReader(new InputStreamReader(System.in));
    for (String line; (line = events.readLine()) != null; ) {
      var request = JSON.readTree(line);
      threads.submit(() -> {
        var answer = Map.of("call", request.get("call").asInt(), "answer", host.handle(request.get("event")));
        var text = JSON.writeValueAsString(answer);
        synchronized (answers) {
          answers.println(text);
        }
        return null;
      });
    }
  }
}
