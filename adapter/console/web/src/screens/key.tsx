/** One key: its owner, its queue, its state, its promises. */

import { useMemo, useState } from "preact/hooks";
import { useLocation } from "preact-iso";
import { path, query } from "../api/client";
import type { Key, Promises, Service, Summary, Value } from "../api/schema";
import { useCommand } from "../commands";
import { Badge, Copy, Empty, Fact, Head, Time, To, Trouble } from "../components/basics";
import { CompleteDialog, type Completable } from "../components/complete";
import { StateDialog } from "../components/state";
import { failureText, inline } from "../format";
import { useLive } from "../live";

export function KeyScreen({ service }: { service: string }) {
  const { url } = useLocation();
  const key = useMemo(() => new URLSearchParams(url.split("?")[1] ?? "").get("key") ?? "", [url]);
  const { data, error } = useLive<Key>(path("admin", "services", service, "key") + query({ key }));
  const [editing, setEditing] = useState<string>();
  const command = useCommand();
  return (
    <>
      <Head title={`${service}/${key}`} />
      {!data && (
        <Empty data={data} error={error}>
          Nothing.
        </Empty>
      )}
      {data && (
        <>
          <Trouble error={error} />
          <dl class="facts">
            <Fact name="Owner">{data.owner ? <Line of={data.owner} /> : "none"}</Fact>
            <Fact name="Waiting">{data.waiting}</Fact>
            <Fact name="Version">{data.version}</Fact>
          </dl>
          <Queue of={data} />
          <State of={data} onEdit={setEditing} />
          <PromisesOf service={service} of={key} />
          <Copy text={command("keys", "show", service, key)} />
          {editing !== undefined && <StateDialog of={data} name={editing} onClose={() => setEditing(undefined)} />}
        </>
      )}
    </>
  );
}

function Line({ of }: { of: Summary }) {
  return (
    <span class="line">
      <Badge of={of} /> <To id={of.id}>{of.handler}</To> <Time at={of.created} />
    </span>
  );
}

function Queue({ of }: { of: Key }) {
  if (of.queue.length === 0) return null;
  return (
    <section aria-labelledby="queue">
      <h2 id="queue">Queue</h2>
      <ol class="lines">
        {of.queue.map((each) => (
          <li key={each.id} class="line">
            <Line of={each} />
          </li>
        ))}
      </ol>
      {of.waiting > of.queue.length && <p class="quiet">and {of.waiting - of.queue.length} more</p>}
    </section>
  );
}

function State({ of, onEdit }: { of: Key; onEdit: (name: string) => void }) {
  const entries: [string, Value | undefined][] = [
    ...Object.entries(of.state),
    ...of.large.filter((name) => !(name in of.state)).map((name): [string, undefined] => [name, undefined]),
  ];
  return (
    <section aria-labelledby="state">
      <h2 id="state">State</h2>
      {entries.length === 0 && <p class="quiet">No state.</p>}
      <ul class="lines">
        {entries.map(([name, value]) => (
          <li key={name} class="line">
            <strong class="mono">{name}</strong>
            <span class="mono">{value ? inline(value) : "(large)"}</span>
            <button type="button" class="small" aria-label={`Edit ${name}`} onClick={() => onEdit(name)}>
              Edit
            </button>
          </li>
        ))}
      </ul>
      <button type="button" class="small" onClick={() => onEdit("")}>
        Add an entry
      </button>
    </section>
  );
}

function PromisesOf({ service, of }: { service: string; of: string }) {
  const { data } = useLive<Promises>(path("admin", "services", service, "promises") + query({ key: of }));
  const [completing, setCompleting] = useState<Completable>();
  const kind = useLive<Service>(path("admin", "services", service)).data?.kind;
  if (!data || kind !== "workflow") return null;
  return (
    <section aria-labelledby="promises">
      <h2 id="promises">Promises</h2>
      {data.promises.length === 0 && <p class="quiet">No promise.</p>}
      <ul class="lines">
        {data.promises.map((each) => (
          <li key={each.name} class="line">
            <strong class="mono">{each.name}</strong> <span class="quiet">{each.status}</span>
            {each.value && <span class="mono">{inline(each.value)}</span>}
            {each.failure && <span class="bad">{failureText(each.failure)}</span>}
            {each.status === "pending" && (
              <button
                type="button"
                class="small"
                onClick={() => setCompleting({ kind: "promise", service, key: of, name: each.name })}
              >
                Resolve or reject
              </button>
            )}
          </li>
        ))}
      </ul>
      <button type="button" class="small" onClick={() => setCompleting({ kind: "promise", service, key: of })}>
        Complete a promise
      </button>
      {completing && <CompleteDialog of={completing} onClose={() => setCompleting(undefined)} />}
    </section>
  );
}
