/** One invocation: what it does, why it waits, what can be done. */

import { useMemo, useState } from "preact/hooks";
import { ACTIONS, actionsFor } from "../actions";
import { path, query } from "../api/client";
import type { Invocation, Wait } from "../api/schema";
import { useCommand } from "../commands";
import { ActDialog, type Request } from "../components/act";
import { Badge, Copy, Empty, Fact, Head, Time, To, ToKey, Trouble, ValueView } from "../components/basics";
import { CompleteDialog, type Completable } from "../components/complete";
import { Logs } from "../components/logs";
import { Waterfall } from "../components/waterfall";
import { CallTree } from "../components/tree";
import { WhyChain } from "../components/why";
import { clock, failureText, span } from "../format";
import { useKeys } from "../keyboard";
import { useLive } from "../live";

export function InvocationScreen({ id }: { id: string }) {
  const { data, error } = useLive<Invocation>(path("admin", "invocations", id));
  if (!data) {
    return (
      <>
        <Head title="Invocation" />
        <Empty data={data} error={error}>
          Nothing.
        </Empty>
      </>
    );
  }
  return <Shown of={data} error={error} />;
}

function Shown({ of, error }: { of: Invocation; error?: Error }) {
  const [request, setRequest] = useState<Request>();
  const [completing, setCompleting] = useState<Completable>();
  const command = useCommand();
  const actions = actionsFor(of);
  useKeys(
    useMemo(
      () => ({ c: () => actions.includes("cancel") && setRequest({ action: "cancel", ids: [of.id] }) }),
      [of.id, of.status],
    ),
  );
  const live = of.status !== "completed";
  return (
    <>
      <Head title={of.target}>
        <Badge of={of} />
      </Head>
      <Trouble error={error} />
      {of.unreadable && <Trouble error={new Error(of.unreadable)} />}
      <div class="bar" role="toolbar" aria-label="Actions">
        {actions.map((action) => (
          <button
            key={action}
            type="button"
            class={ACTIONS[action].destructive ? "small danger" : "small"}
            onClick={() => setRequest({ action, ids: [of.id] })}
          >
            {ACTIONS[action].label}
          </button>
        ))}
        {live && (
          <button type="button" class="small" onClick={() => setCompleting({ kind: "signal", id: of.id })}>
            Signal
          </button>
        )}
      </div>
      <Facts of={of} />
      {live && <Waits of={of} onComplete={setCompleting} />}
      {live && <WhyChain id={of.id} onComplete={setCompleting} />}
      <Waterfall
        of={of}
        onRestart={(from) => setRequest({ action: "restart-as-new", ids: [of.id], from })}
        onComplete={setCompleting}
      />
      <Payloads of={of} />
      <Errors of={of} />
      <CallTree id={of.id} />
      <Copy text={command("inv", "show", of.id)} />
      <Logs id={of.id} />
      {request && <ActDialog request={request} onClose={() => setRequest(undefined)} />}
      {completing && <CompleteDialog of={completing} onClose={() => setCompleting(undefined)} />}
    </>
  );
}

function Facts({ of }: { of: Invocation }) {
  const { key, parent, sender, restarted_from, idempotency_key, deployment, completed, due, expires, retry } = of;
  const tries = retry?.max_attempts ? `${of.attempts} of ${retry.max_attempts}` : `${of.attempts}`;
  return (
    <dl class="facts">
      <Fact name="Id">
        <code class="mono">{of.id}</code>
      </Fact>
      <Fact name="Created">{clock(of.created)}</Fact>
      {completed && <Fact name="Took">{span(Date.parse(completed) - Date.parse(of.created))}</Fact>}
      {due && (
        <Fact name="Due">
          <Time at={due} />
        </Fact>
      )}
      <Fact name="Attempts">
        {tries}
        {of.failures > 0 && `, ${of.failures} failed in a row`}
      </Fact>
      {deployment && (
        <Fact name="Deployment">
          <a href={`/console/invocations${query({ deployment })}`}>{deployment}</a>
        </Fact>
      )}
      {key !== undefined && (
        <Fact name="Key">
          <ToKey service={of.service} of={key} />
        </Fact>
      )}
      {parent && (
        <Fact name="Called by">
          <To id={parent} />
        </Fact>
      )}
      {sender && (
        <Fact name="Sent by">
          <To id={sender} />
        </Fact>
      )}
      {restarted_from && (
        <Fact name="Restarted from">
          <To id={restarted_from} />
        </Fact>
      )}
      {of.waiters > 0 && <Fact name="Waiters">{of.waiters}</Fact>}
      {idempotency_key !== undefined && <Fact name="Idempotency key">{idempotency_key}</Fact>}
      {expires && <Fact name="Kept until">{clock(expires)}</Fact>}
    </dl>
  );
}

function Waits({ of, onComplete }: { of: Invocation; onComplete: (of: Completable) => void }) {
  if (of.waits.length === 0) return null;
  return (
    <section aria-labelledby="waits">
      <h2 id="waits">Waits for</h2>
      <ul class="lines">
        {of.waits.map((wait, index) => (
          <li key={index} class="line">
            <WaitLine wait={wait} of={of} onComplete={onComplete} />
          </li>
        ))}
      </ul>
    </section>
  );
}

function WaitLine({ wait, of, onComplete }: { wait: Wait; of: Invocation; onComplete: (of: Completable) => void }) {
  const completable = completableOf(wait, of);
  return (
    <>
      <strong>{wait.kind}</strong>
      {wait.name && <span class="mono">{wait.name}</span>}
      {wait.id &&
        (wait.kind === "awakeable" ? (
          <code class="mono">{wait.id}</code>
        ) : (
          wait.id.startsWith("inv_") && <To id={wait.id} />
        ))}
      {wait.status && <span class="quiet">{wait.status}</span>}
      {wait.until && <Time at={wait.until} />}
      {completable && (
        <button type="button" class="small" onClick={() => onComplete(completable)}>
          Resolve or reject
        </button>
      )}
    </>
  );
}

function completableOf(wait: Wait, of: Invocation): Completable | undefined {
  if (wait.kind === "awakeable" && wait.id) return { kind: "awakeable", id: wait.id };
  if (wait.kind === "signal" && wait.name) return { kind: "signal", id: of.id, name: wait.name };
  if (wait.kind === "promise" && wait.name && of.key !== undefined) {
    return { kind: "promise", service: of.service, key: of.key, name: wait.name };
  }
  return undefined;
}

function Payloads({ of }: { of: Invocation }) {
  const headers = Object.entries(of.headers);
  return (
    <section class="columns">
      <div>
        <h2>Input</h2>
        {of.input && <ValueView value={of.input} label="Input" />}
      </div>
      <div>
        <h2>Output</h2>
        {of.output && <ValueView value={of.output} label="Output" />}
        {of.failure && <p class="trouble">{failureText(of.failure)}</p>}
        {!of.output && !of.failure && <p class="quiet">Not yet.</p>}
      </div>
      {headers.length > 0 && (
        <div>
          <h2>Headers</h2>
          <dl class="facts">
            {headers.map(([name, value]) => (
              <div key={name}>
                <dt>{name}</dt>
                <dd class="mono">{value}</dd>
              </div>
            ))}
          </dl>
        </div>
      )}
    </section>
  );
}

function Errors({ of }: { of: Invocation }) {
  if (of.errors.length === 0) return null;
  return (
    <section aria-labelledby="errors">
      <h2 id="errors">Errors of attempts</h2>
      <ol class="lines">
        {of.errors.map((each) => (
          <li key={each.attempt} class="line">
            <strong>attempt {each.attempt}</strong> {each.at && <Time at={each.at} />}{" "}
            <span class="mono">{each.error}</span>
          </li>
        ))}
      </ol>
    </section>
  );
}
