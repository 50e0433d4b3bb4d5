/** Calls a handler, or sends it a message, with an input from a form. */

import { useMemo, useState } from "preact/hooks";
import { send, type Answer } from "../api/client";
import type { Handler, Service } from "../api/schema";
import { useCommand, useConfig } from "../commands";
import { span } from "../format";
import { refresh } from "../live";
import { example, type Schema } from "../schema";
import { Copy, Metadata, To, Trouble } from "./basics";
import { JsonField, SchemaField } from "./schema-form";
import { curl, headersOf, python, target, type Call } from "./snippets";

const JSON_TYPE = "application/json";

interface Outcome extends Answer {
  took: number;
}

export function Playground({ service, name, handler }: { service: Service; name: string; handler: Handler }) {
  const schema = (handler.input ?? {}) as Schema;
  const takesJson = handler.takes === JSON_TYPE;
  const [value, setValue] = useState<unknown>(() => example(schema, schema));
  const [raw, setRaw] = useState("");
  const [asText, setAsText] = useState(handler.input == null);
  const [key, setKey] = useState("");
  const [delay, setDelay] = useState("");
  const [idempotencyKey, setIdempotencyKey] = useState("");
  const [headers, setHeaders] = useState("");
  const [outcome, setOutcome] = useState<Outcome>();
  const [error, setError] = useState<Error>();
  const [busy, setBusy] = useState(false);

  const keyed = service.kind !== "service";
  const call = useMemo<Call>(
    () => ({
      service: service.name,
      key: keyed ? key || "KEY" : undefined,
      handler: name,
      body: takesJson ? JSON.stringify(value) : handler.takes === null ? undefined : raw,
      mode: "call",
      delay: delay || undefined,
      idempotencyKey: idempotencyKey || undefined,
      headers: readHeaders(headers),
    }),
    [service, name, key, value, raw, delay, idempotencyKey, headers],
  );

  const run = async (mode: Call["mode"]) => {
    setBusy(true);
    setError(undefined);
    setOutcome(undefined);
    const began = performance.now();
    try {
      const type: Record<string, string> =
        call.body === undefined || !handler.takes ? {} : { "content-type": handler.takes };
      const answer = await send(target({ ...call, mode }), {
        method: "POST",
        headers: { ...headersOf(call), ...type },
        body: call.body,
      });
      setOutcome({ ...answer, took: performance.now() - began });
      refresh();
    } catch (problem) {
      setError(problem as Error);
    } finally {
      setBusy(false);
    }
  };

  return (
    <form
      class="playground"
      aria-label={`Call ${service.name}/${name}`}
      onSubmit={(event) => {
        event.preventDefault();
        const button = (event as SubmitEvent).submitter as HTMLButtonElement | null;
        void run(button?.value === "send" ? "send" : "call");
      }}
    >
      {handler.doc && <p>{handler.doc}</p>}
      <Metadata of={handler.metadata} />
      {keyed && (
        <label>
          Key
          <input required value={key} onInput={(event) => setKey(event.currentTarget.value)} />
        </label>
      )}
      {handler.takes === null && <p class="quiet">This handler takes no input.</p>}
      {takesJson && handler.input != null && (
        <label class="check">
          <input type="checkbox" checked={asText} onChange={(event) => setAsText(event.currentTarget.checked)} /> Input
          as text
        </label>
      )}
      {takesJson &&
        (asText ? (
          <JsonField label="Input" value={value} onChange={setValue} />
        ) : (
          <SchemaField
            schema={schema}
            root={schema}
            label={schema.title ?? "Input"}
            value={value}
            onChange={setValue}
            required
          />
        ))}
      {handler.takes !== null && !takesJson && (
        <label>
          Input ({handler.takes})
          <textarea rows={5} class="mono" value={raw} onInput={(event) => setRaw(event.currentTarget.value)} />
        </label>
      )}
      <details>
        <summary>Options</summary>
        <label>
          Idempotency key
          <input value={idempotencyKey} onInput={(event) => setIdempotencyKey(event.currentTarget.value)} />
        </label>
        <label>
          Delay of a message
          <input value={delay} placeholder="10s" onInput={(event) => setDelay(event.currentTarget.value)} />
        </label>
        <label>
          Headers that begin with x-, one a line
          <textarea
            rows={2}
            class="mono"
            value={headers}
            placeholder="x-tenant: acme"
            onInput={(event) => setHeaders(event.currentTarget.value)}
          />
        </label>
      </details>
      <div class="bar">
        <button type="submit" value="call" class="primary" disabled={busy}>
          Call
        </button>
        <button type="submit" value="send" disabled={busy}>
          Send
        </button>
      </div>
      <div aria-live="polite">
        {busy && <p class="quiet">Waiting for the answer…</p>}
        <Trouble error={error} />
        {outcome && <OutcomeView of={outcome} />}
      </div>
      <Snippets call={call} />
    </form>
  );
}

function readHeaders(text: string): Record<string, string> {
  const pairs = text.split("\n").map((line) => line.match(/^\s*(x-[\w-]+)\s*:\s*(.*?)\s*$/i));
  return Object.fromEntries(pairs.filter((pair) => pair !== null).map((pair) => [pair[1]!.toLowerCase(), pair[2]!]));
}

function OutcomeView({ of }: { of: Outcome }) {
  const id = of.headers.get("x-restate-id");
  return (
    <section aria-label="Answer">
      <p>
        <strong class={of.status < 400 ? "good" : "bad"}>{of.status}</strong> after {span(of.took)}{" "}
        {id && <To id={id} />}
      </p>
      {of.text && (
        <pre class="value" tabIndex={0} role="group" aria-label="Body of the answer">
          {of.text}
        </pre>
      )}
    </section>
  );
}

function Snippets({ call }: { call: Call }) {
  const { url } = useConfig();
  const command = useCommand();
  const place = [call.service, ...(call.key === undefined ? [] : [call.key]), call.handler].join("/");
  const body = call.body === undefined ? [] : [call.body];
  const options = call.idempotencyKey ? ["--idempotency-key", call.idempotencyKey] : [];
  return (
    <section aria-label="As code">
      <h2>As code</h2>
      <Copy text={command("call", place, ...body, ...options)} />
      <Copy
        text={command("send", place, ...body, ...(call.delay ? ["--delay", call.delay] : []), ...options)}
        label="Command for a message"
      />
      <Copy text={curl(call, url)} label="curl" />
      <Copy text={python(call, url)} label="Python" />
    </section>
  );
}
