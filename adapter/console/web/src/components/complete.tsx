/** Resolves or rejects what an invocation waits for: an awakeable, a durable promise, a signal. */

import { useState } from "preact/hooks";
import { ask, compactJson, path, query, type Refused } from "../api/client";
import { useCommand } from "../commands";
import { refresh } from "../live";
import { Copy, Trouble } from "./basics";
import { Dialog } from "./dialog";
import { tell } from "./notices";

export type Completable =
  | { kind: "awakeable"; id: string }
  | { kind: "signal"; id: string; name?: string }
  | { kind: "promise"; service: string; key: string; name?: string };

export function CompleteDialog({ of, onClose }: { of: Completable; onClose: () => void }) {
  const command = useCommand();
  const [name, setName] = useState(of.kind === "awakeable" ? "" : (of.name ?? ""));
  const [rejecting, setRejecting] = useState(false);
  const [text, setText] = useState("");
  const [message, setMessage] = useState("");
  const [error, setError] = useState<Error>();

  const submit = async () => {
    setError(undefined);
    const body = rejecting ? JSON.stringify({ message }) : text.trim() ? compactJson(text) : undefined;
    if (body instanceof Error) return setError(body);
    const headers = body === undefined ? undefined : { "content-type": "application/json" };
    try {
      await ask(target(of, name, rejecting), { method: "POST", headers, body });
      tell(rejecting ? "Rejected." : "Resolved.");
      onClose();
      refresh();
    } catch (problem) {
      setError(problem as Refused);
    }
  };

  const title = { awakeable: "Complete an awakeable", signal: "Send a signal", promise: "Complete a promise" }[of.kind];
  return (
    <Dialog title={title} onClose={onClose}>
      <form
        onSubmit={(event) => {
          event.preventDefault();
          void submit();
        }}
      >
        {of.kind === "awakeable" ? (
          <p>
            <code class="mono">{of.id}</code>
          </p>
        ) : (
          <label>
            Name
            <input required value={name} onInput={(event) => setName(event.currentTarget.value)} />
          </label>
        )}
        <fieldset>
          <legend>How</legend>
          <label class="check">
            <input type="radio" name="how" checked={!rejecting} onChange={() => setRejecting(false)} /> Resolve with a
            value
          </label>
          <label class="check">
            <input type="radio" name="how" checked={rejecting} onChange={() => setRejecting(true)} /> Reject with a
            message
          </label>
        </fieldset>
        {rejecting ? (
          <label>
            Message
            <input required value={message} onInput={(event) => setMessage(event.currentTarget.value)} />
          </label>
        ) : (
          <label>
            Value in JSON
            <textarea
              rows={5}
              class="mono"
              value={text}
              onInput={(event) => setText(event.currentTarget.value)}
              placeholder="empty for no value"
            />
          </label>
        )}
        <Copy text={command(...words(of, name, rejecting, rejecting ? message : text))} />
        <Trouble error={error} />
        <footer>
          <button type="button" onClick={onClose}>
            Back
          </button>
          <button type="submit" class={rejecting ? "danger" : "primary"}>
            {rejecting ? "Reject" : "Resolve"}
          </button>
        </footer>
      </form>
    </Dialog>
  );
}

function target(of: Completable, name: string, rejecting: boolean): string {
  const verb = rejecting ? "reject" : "resolve";
  switch (of.kind) {
    case "awakeable":
      return path("admin", "awakeables", of.id, verb);
    case "signal":
      return path("admin", "invocations", of.id, "signals", name) + (rejecting ? "/reject" : "");
    case "promise":
      return path("admin", "services", of.service, "promises", name, verb) + query({ key: of.key });
  }
}

function words(of: Completable, name: string, rejecting: boolean, value: string): string[] {
  const verb = rejecting ? "reject" : "resolve";
  const last = value ? [value] : [];
  switch (of.kind) {
    case "awakeable":
      return ["awakeable", verb, of.id, ...last];
    case "signal":
      return ["signal", of.id, name, ...(rejecting ? ["--reject", value] : last)];
    case "promise":
      return ["promise", verb, of.service, of.key, name, ...last];
  }
}
