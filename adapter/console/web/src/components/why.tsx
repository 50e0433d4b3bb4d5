/** Why an invocation does not go on: the chain of what waits for what, down to the cause. */

import { useState } from "preact/hooks";
import { path, post, type Refused } from "../api/client";
import type { Action, Link, Why } from "../api/schema";
import { useCommand, useConfig } from "../commands";
import { refresh, useLive } from "../live";
import { Badge, Copy, To, Trouble } from "./basics";
import type { Completable } from "./complete";
import { Dialog } from "./dialog";
import { tell } from "./notices";

interface Props {
  id: string;
  onComplete: (of: Completable) => void;
}

export function WhyChain({ id, onComplete }: Props) {
  const { data, error } = useLive<Why>(path("admin", "invocations", id, "why"));
  const [asked, setAsked] = useState<Action>();
  const command = useCommand();
  if (!data) return error ? <Trouble error={error} /> : null;
  return (
    <section aria-labelledby="why" class={data.cycle ? "deadlock" : undefined}>
      <h2 id="why">Why it waits</h2>
      <p>{data.summary}</p>
      <ol class="chain">
        {data.chain.map((link, index) => (
          <li key={link.id} class={index === data.chain.length - 1 ? "cause" : undefined}>
            <Badge of={link} /> <To id={link.id}>{link.target}</To> <span>{link.text}</span>
            <Actions of={link} onAct={setAsked} onComplete={onComplete} />
          </li>
        ))}
      </ol>
      <Copy text={command("inv", "why", id)} />
      {asked && <Confirm action={asked} onClose={() => setAsked(undefined)} />}
    </section>
  );
}

function Actions({
  of,
  onAct,
  onComplete,
}: {
  of: Link;
  onAct: (action: Action) => void;
  onComplete: (of: Completable) => void;
}) {
  const { awakeable } = of;
  return (
    <span class="bar">
      {of.actions
        .filter((action) => !action.path.includes("/awakeables/"))
        .map((action) => (
          <button key={action.command} type="button" class="small" onClick={() => onAct(action)}>
            {action.text}
          </button>
        ))}
      {awakeable && (
        <button type="button" class="small" onClick={() => onComplete({ kind: "awakeable", id: awakeable })}>
          Resolve or reject
        </button>
      )}
    </span>
  );
}

function Confirm({ action, onClose }: { action: Action; onClose: () => void }) {
  const [error, setError] = useState<Refused>();
  const { options } = useConfig();
  const run = () =>
    post(action.path).then(() => {
      tell("Done.");
      onClose();
      refresh();
    }, setError);
  return (
    <Dialog title={action.text} onClose={onClose}>
      <Copy text={[action.command, options].filter(Boolean).join(" ")} />
      <Trouble error={error} />
      <footer>
        <button type="button" onClick={onClose}>
          Back
        </button>
        <button type="button" class="danger" onClick={() => void run()}>
          {action.text}
        </button>
      </footer>
    </Dialog>
  );
}
