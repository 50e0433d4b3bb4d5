/** Asks before an action on one invocation or on many, and carries it out. */

import { useEffect, useState } from "preact/hooks";
import { useLocation } from "preact-iso";
import { ACTIONS, filterWords, type ActionName } from "../actions";
import { newKey, path, post, query, type Refused } from "../api/client";
import type { Acknowledged, Bulk, BulkDone, Deployments, Filter, Summary } from "../api/schema";
import { useCommand } from "../commands";
import { refresh, useLive } from "../live";
import { Badge, Copy, Trouble } from "./basics";
import { Dialog } from "./dialog";
import { tell } from "./notices";

export interface Request {
  action: ActionName;
  /** The invocations, or a filter that finds them. */
  ids?: string[];
  filter?: Filter;
  /** The entry to restart from, if the reader chose one. */
  from?: number;
}

const PREVIEW = 20;
const PAGE = 100;
/** How many invocations one request looks at, where it changes nothing. */
const LOOK = 1000;

/** What an action would do, as far as it was looked at. */
interface Preview {
  matched: number;
  skipped: number;
  /** Why the first one of these is skipped. */
  reason?: string;
  first: Summary[];
  cursor: string | null;
}

function added(seen: Preview | undefined, page: BulkDone): Preview {
  return {
    matched: (seen?.matched ?? 0) + page.matched,
    skipped: (seen?.skipped ?? 0) + page.skipped.length,
    reason: seen?.reason ?? page.skipped[0]?.reason,
    first: [...(seen?.first ?? []), ...page.invocations].slice(0, PREVIEW + 1),
    cursor: page.cursor,
  };
}

export function ActDialog({ request, onClose }: { request: Request; onClose: () => void }) {
  const { action, ids, filter } = request;
  const described = ACTIONS[action];
  const one = ids?.length === 1 ? ids[0] : undefined;
  const command = useCommand();
  const { route } = useLocation();
  const [deployment, setDeployment] = useState("");
  const [from, setFrom] = useState(request.from?.toString() ?? "");
  const [preview, setPreview] = useState<Preview>();
  const [progress, setProgress] = useState<string>();
  const [error, setError] = useState<Refused>();
  // One for each dialog: a page that is sent again acts once, another dialog acts once more.
  const [headers] = useState(() => ({ "idempotency-key": newKey() }));

  const bulk = (extra: Partial<Bulk>): Bulk => ({
    action,
    ...(ids ? { ids } : { filter }),
    ...(deployment ? { deployment } : {}),
    ...(from ? { from: Number(from) } : {}),
    ...extra,
  });

  useEffect(() => {
    if (one) return;
    let open = true;
    const look = async () => {
      let seen: Preview | undefined;
      do {
        const more = seen?.cursor ? { cursor: seen.cursor } : {};
        const page: BulkDone = await post("/admin/invocations/bulk", bulk({ dry_run: true, limit: LOOK, ...more }));
        seen = added(seen, page);
        if (open) setPreview(seen);
      } while (open && seen.cursor);
    };
    look().catch(setError);
    return () => {
      open = false;
    };
  }, []);

  const run = async () => {
    setError(undefined);
    setProgress("…");
    try {
      if (one) {
        const answer = await post<Acknowledged>(
          path("admin", "invocations", one, action) + query({ deployment, from }),
          undefined,
          headers,
        );
        tell(
          answer.status === "already"
            ? `The invocation was ${described.done} before.`
            : `The invocation is ${described.done}.`,
        );
        onClose();
        refresh();
        if (action === "purge") route("/console/invocations");
        if (answer.restarted) route(`/console/invocations/${answer.invocationId}`);
        return;
      }
      let done = 0;
      let skipped = 0;
      let cursor: string | null | undefined;
      do {
        const page: BulkDone = await post(
          "/admin/invocations/bulk",
          bulk({ limit: PAGE, ...(cursor ? { cursor } : {}) }),
          headers,
        );
        done += page.done;
        skipped += page.skipped.length;
        cursor = page.cursor;
        setProgress(`${done} ${described.done}…`);
      } while (cursor);
      tell(`${done} ${described.done}${skipped ? `, ${skipped} skipped` : ""}.`);
      onClose();
      refresh();
    } catch (problem) {
      setError(problem as Refused);
      setProgress(undefined);
    }
  };

  const options = [...(deployment ? ["--deployment", deployment] : []), ...(from ? ["--from", from] : [])];
  return (
    <Dialog title={`${described.label}${one ? " this invocation" : ""}`} onClose={onClose}>
      <form
        onSubmit={(event) => {
          event.preventDefault();
          void run();
        }}
      >
        <p>{described.effect}</p>
        {!one && (
          <section aria-label="Preview" aria-live="polite">
            {preview ? (
              <p>
                <strong>{`${preview.matched}${preview.cursor ? "…" : ""}`}</strong> match
                {preview.skipped > 0 && `; ${preview.skipped} will be skipped: ${preview.reason}`}.
              </p>
            ) : (
              !error && <p class="quiet">Counting…</p>
            )}
            <Matches of={preview?.first ?? []} />
          </section>
        )}
        {action === "resume" && <OnDeployment value={deployment} onChange={setDeployment} />}
        {action === "restart-as-new" && (
          <label>
            Keep the results of the entries before number
            <input
              type="number"
              min={0}
              value={from}
              placeholder="none"
              onInput={(event) => setFrom(event.currentTarget.value)}
            />
          </label>
        )}
        <Copy text={command("inv", described.command, ...(ids ?? filterWords(filter ?? {})), ...options)} />
        <Trouble error={error} />
        <footer>
          <button type="button" onClick={onClose}>
            Back
          </button>
          <button
            type="submit"
            class={described.destructive ? "danger" : "primary"}
            disabled={progress !== undefined || (!one && !preview?.matched)}
          >
            {progress ?? described.label}
          </button>
        </footer>
      </form>
    </Dialog>
  );
}

function Matches({ of }: { of: Summary[] }) {
  return (
    <ul class="matches">
      {of.slice(0, PREVIEW).map((each) => (
        <li key={each.id}>
          <Badge of={each} /> <span class="mono">{each.target}</span>
        </li>
      ))}
      {of.length > PREVIEW && <li class="quiet">and more</li>}
    </ul>
  );
}

function OnDeployment({ value, onChange }: { value: string; onChange: (value: string) => void }) {
  const { data } = useLive<Deployments>("/admin/deployments");
  return (
    <label>
      On
      <select value={value} onChange={(event) => onChange(event.currentTarget.value)}>
        <option value="">the deployment that it has</option>
        <option value="latest">the latest deployment of its service</option>
        {data?.deployments.map((each) => (
          <option key={each.deployment} value={each.deployment}>
            {each.deployment}
          </option>
        ))}
      </select>
    </label>
  );
}
