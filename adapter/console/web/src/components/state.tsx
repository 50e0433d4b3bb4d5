/** Edits an entry of a key's state. If the key changed meanwhile, the difference is shown before anything is lost. */

import { diffLines } from "diff";
import { useEffect, useState } from "preact/hooks";
import { ask, askText, compactJson, path, query, readJson, Refused } from "../api/client";
import type { Key } from "../api/schema";
import { useCommand } from "../commands";
import { refresh } from "../live";
import { Copy, Trouble } from "./basics";
import { Dialog } from "./dialog";
import { tell } from "./notices";

const CHANGED = 412;

interface Loaded {
  version: number;
  /** The entry in JSON, indented; empty if there is none. */
  text: string;
}

export function StateDialog({ of, name: given, onClose }: { of: Key; name: string; onClose: () => void }) {
  const command = useCommand();
  const [name, setName] = useState(given);
  const [base, setBase] = useState<Loaded>();
  const [text, setText] = useState("");
  const [theirs, setTheirs] = useState<Loaded>();
  const [error, setError] = useState<Error>();

  useEffect(() => {
    load(of, given).then((loaded) => {
      setBase(loaded);
      setText((typed) => typed || loaded.text);
    }, setError);
  }, []);

  const place = path("admin", "services", of.service, "state") + query({ key: of.key, name });
  const write = async (method: "PUT" | "DELETE", version: number) => {
    setError(undefined);
    const body = method === "PUT" ? compactJson(text) : undefined;
    if (body instanceof Error) return setError(body);
    try {
      await ask(place, { method, body, headers: { "if-match": `"${version}"`, "content-type": "application/json" } });
      tell(method === "PUT" ? `${name} is set.` : `${name} is cleared.`);
      onClose();
      refresh();
    } catch (problem) {
      const changed = problem instanceof Refused && problem.status === CHANGED;
      setError(changed ? new Error("Nothing is saved: the key has changed, or has an owner.") : (problem as Error));
      if (changed) await load(of, name).then(setTheirs, setError);
    }
  };

  const current = theirs ?? base;
  const value = text.trim();
  return (
    <Dialog title={given ? `State: ${given}` : "Add an entry"} onClose={onClose}>
      <form
        onSubmit={(event) => {
          event.preventDefault();
          if (current) void write("PUT", current.version);
        }}
      >
        {!given && (
          <label>
            Name
            <input required value={name} onInput={(event) => setName(event.currentTarget.value)} />
          </label>
        )}
        <label>
          Value in JSON
          <textarea
            rows={10}
            class="mono"
            required
            value={text}
            onInput={(event) => setText(event.currentTarget.value)}
          />
        </label>
        <Trouble error={error} />
        {theirs && <Difference stored={theirs.text} mine={text} />}
        <Copy text={command("state", "set", of.service, of.key, name || "NAME", value || "VALUE")} />
        <footer>
          {given && current && (
            <button type="button" class="danger" onClick={() => void write("DELETE", current.version)}>
              Clear
            </button>
          )}
          {theirs && (
            <button
              type="button"
              onClick={() => {
                setText(theirs.text);
                setBase(theirs);
                setTheirs(undefined);
                setError(undefined);
              }}
            >
              Take the stored value
            </button>
          )}
          <button type="button" onClick={onClose}>
            Back
          </button>
          <button type="submit" class="primary" disabled={!current}>
            {theirs ? "Overwrite" : "Save"}
          </button>
        </footer>
      </form>
    </Dialog>
  );
}

/** The lines in which the stored value and the edited one differ. */
function Difference({ stored, mine }: { stored: string; mine: string }) {
  return (
    <section aria-label="Difference">
      <p>The stored value (−) and yours (+):</p>
      <pre class="value diff" tabIndex={0} role="group" aria-label="Difference of the stored value and yours">
        {diffLines(stored, mine).map((part, index) => (
          <span key={index} class={part.added ? "added" : part.removed ? "removed" : ""}>
            {part.value.replace(/^(?=.)/gm, part.added ? "+ " : part.removed ? "− " : "  ")}
          </span>
        ))}
      </pre>
    </section>
  );
}

/** Read the key's version, then an entry: what is written is compared with that version. */
async function load(of: Key, name: string): Promise<Loaded> {
  const { version } = await ask<Key>(path("admin", "services", of.service, "key") + query({ key: of.key }));
  if (!name) return { version, text: "" };
  const text = await askText(path("admin", "services", of.service, "state") + query({ key: of.key, name })).catch(
    (error: unknown) => {
      if (error instanceof Refused && error.status === 404) return "";
      throw error;
    },
  );
  return { version, text: indented(text) };
}

function indented(text: string): string {
  try {
    return JSON.stringify(readJson(text), null, 2);
  } catch {
    return text;
  }
}
