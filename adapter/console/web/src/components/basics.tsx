/** Small parts that every screen uses. */

import type { ComponentChildren } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import type { Refused } from "../api/client";
import type { Summary, Value } from "../api/schema";
import { clock, relative, short, size, state, valueText } from "../format";
import { useNow } from "../live";

/** A status with a colour; a completed invocation shows how it ended. */
export function Badge({ of }: { of: Pick<Summary, "status" | "outcome"> }) {
  const word = state(of);
  return <span class={`badge ${word}`}>{word}</span>;
}

/** A point in time, relative to now. */
export function Time({ at }: { at: string }) {
  const now = useNow();
  return (
    <time dateTime={at} title={clock(at)}>
      {relative(at, now)}
    </time>
  );
}

/** A link to an invocation. */
export function To({ id, children }: { id: string; children?: ComponentChildren }) {
  return (
    <a href={`/console/invocations/${id}`} title={id} class="mono">
      {children ?? short(id)}
    </a>
  );
}

/** A link to a key's screen. */
export function ToKey({ service, of }: { service: string; of: string }) {
  return (
    <a href={`/console/keys/${encodeURIComponent(service)}?key=${encodeURIComponent(of)}`}>{`${service}/${of}`}</a>
  );
}

/** A value, with a link to all of it if the server cut it. */
export function ValueView({ value, label }: { value: Value; label: string }) {
  if ("hidden" in value) return <p class="quiet">hidden{value.size !== undefined && `, ${size(value.size)}`}</p>;
  return (
    <>
      <pre class="value" tabIndex={0} role="group" aria-label={label}>
        {valueText(value)}
      </pre>
      {value.truncated && value.href && (
        <p class="quiet">
          Cut.{" "}
          <a href={value.href} target="_blank" rel="noreferrer" download>
            All of it{value.size !== undefined && ` (${size(value.size)})`}
          </a>
        </p>
      )}
    </>
  );
}

/** What the code says about a service or a handler: text by name. */
export function Metadata({ of }: { of?: Record<string, string> }) {
  if (!of) return null;
  return (
    <dl class="facts">
      {Object.entries(of).map(([name, text]) => (
        <Fact key={name} name={name}>
          {text}
        </Fact>
      ))}
    </dl>
  );
}

/** Text to copy: a command line, or code. */
export function Copy({ text, label = "Command" }: { text: string; label?: string }) {
  const [copied, setCopied] = useState(false);
  useEffect(() => {
    if (!copied) return;
    const timer = window.setTimeout(() => setCopied(false), 1500);
    return () => window.clearTimeout(timer);
  }, [copied]);
  const code = useRef<HTMLElement>(null);
  const copy = async () => {
    // Over plain HTTP from another machine there is no clipboard: the text is selected, to be copied by hand.
    if (!("clipboard" in navigator)) return getSelection()?.selectAllChildren(code.current!);
    await navigator.clipboard.writeText(text);
    setCopied(true);
  };
  return (
    <div class="copy">
      <code ref={code} tabIndex={0} role="group" aria-label={label}>
        {text}
      </code>
      <button type="button" class="small" onClick={() => void copy()} aria-label={`Copy: ${label}`}>
        {copied ? "Copied" : "Copy"}
      </button>
    </div>
  );
}

/** What went wrong, in the server's words. */
export function Trouble({ error }: { error?: Refused | Error }) {
  return error ? (
    <p class="trouble" role="alert">
      {error.message}
    </p>
  ) : null;
}

/** A heading with what belongs beside it. */
export function Head({ title, children }: { title: string; children?: ComponentChildren }) {
  useEffect(() => {
    document.title = `${title} · console`;
  }, [title]);
  return (
    <header class="head">
      <h1>{title}</h1>
      {children}
    </header>
  );
}

/** What a list shows while it is loading, or where it has nothing. */
export function Empty({ data, error, children }: { data?: unknown; error?: Refused; children: ComponentChildren }) {
  if (error) return <Trouble error={error} />;
  return <p class="quiet">{data === undefined ? "Loading…" : children}</p>;
}

/** A line of a list of facts. */
export function Fact({ name, children }: { name: string; children: ComponentChildren }) {
  return (
    <div>
      <dt>{name}</dt>
      <dd>{children}</dd>
    </div>
  );
}
