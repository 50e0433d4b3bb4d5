/** The invocations that match a filter, and actions on many of them. The filter is in the URL. */

import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import { useLocation } from "preact-iso";
import { ACTIONS, filterWords, type ActionName } from "../actions";
import { ask, query } from "../api/client";
import type { Counts, Filter, Invocations as Page } from "../api/schema";
import { useCommand } from "../commands";
import { ActDialog, type Request } from "../components/act";
import { Copy, Empty, Head, Trouble } from "../components/basics";
import { AGES, FilterForm, LIMITS } from "../components/filter-form";
import { InvocationsTable } from "../components/invocations-table";
import { useKeys } from "../keyboard";
import { useLive } from "../live";

export function Invocations() {
  const { url, route } = useLocation();
  const given = useMemo(() => new URLSearchParams(url.split("?")[1] ?? ""), [url]);
  const filter = useMemo(() => readFilter(given), [given]);
  const limit = given.get("limit") ?? LIMITS[0]!;
  const cursor = given.get("cursor") ?? undefined;
  const live = useLive<Page>(`/admin/invocations${query({ ...filter, limit, cursor })}`, true);
  const [selected, setSelected] = useState(new Set<string>());
  const [request, setRequest] = useState<Request>();
  const field = useRef<HTMLInputElement>(null);
  const command = useCommand();
  useKeys(useMemo(() => ({ "/": () => field.current?.focus() }), []));
  useEffect(() => setSelected(new Set()), [url]);

  const set = (name: string, values: string[]) => {
    const next = new URLSearchParams(given);
    next.delete("cursor");
    next.delete(name);
    for (const value of values) if (value) next.append(name, value);
    route(`/console/invocations?${next}`, true);
  };
  const page = live.data?.invocations ?? [];
  return (
    <>
      <Head title="Invocations">
        <Count filter={filter} />
      </Head>
      <FilterForm given={given} set={set} field={field} />
      <div class="bar" role="toolbar" aria-label="Actions on many invocations">
        <span>{selected.size ? `${selected.size} selected` : "All that match"}:</span>
        {(Object.keys(ACTIONS) as ActionName[]).map((action) => (
          <button
            key={action}
            type="button"
            class={ACTIONS[action].destructive ? "small danger" : "small"}
            onClick={() => setRequest(selected.size ? { action, ids: [...selected] } : { action, filter })}
          >
            {ACTIONS[action].label}
          </button>
        ))}
      </div>
      {page.length > 0 ? (
        <>
          <Trouble error={live.error} />
          <InvocationsTable label="Invocations" of={page} selected={selected} onSelect={setSelected} />
        </>
      ) : (
        <Empty {...live}>
          {live.data?.cursor ? "None of these matches. Older ones may." : "No invocation matches."}
        </Empty>
      )}
      {live.data && !live.data.complete && (
        <p class="quiet">The index is switched off: completed invocations are not listed.</p>
      )}
      <footer class="bar">
        {cursor && (
          <button type="button" onClick={() => set("cursor", [])}>
            Latest
          </button>
        )}
        {live.data?.cursor && (
          <button type="button" onClick={() => route(`/console/invocations?${withCursor(given, live.data!.cursor!)}`)}>
            Older
          </button>
        )}
        <Copy text={command("inv", "list", ...filterWords(filter))} />
      </footer>
      {request && <ActDialog request={request} onClose={() => setRequest(undefined)} />}
    </>
  );
}

function withCursor(given: URLSearchParams, cursor: string): URLSearchParams {
  const next = new URLSearchParams(given);
  next.set("cursor", cursor);
  return next;
}

function readFilter(given: URLSearchParams): Filter {
  const filter: Filter = {};
  for (const name of ["status", "outcome", "service", "handler", "key", "deployment", "text"] as const) {
    const values = given.getAll(name).filter(Boolean);
    if (values.length) filter[name] = values;
  }
  for (const name of ["since", "until"] as const) {
    const value = given.get(name);
    if (value) filter[name] = value;
  }
  const [within, before] = [agoOf(given.get("within")), agoOf(given.get("before"))];
  if (within) filter.since = within;
  if (before) filter.until = before;
  return filter;
}

/** Return the time that is so long ago: 15m, 1h, 1d or 7d. */
function agoOf(age: string | null): string | undefined {
  const seconds = AGES[age as keyof typeof AGES];
  return seconds === undefined ? undefined : new Date(Date.now() - seconds * 1000).toISOString();
}

/** Adds up the pages of counts when asked to: that reads the index. */
function Count({ filter }: { filter: Filter }) {
  const [text, setText] = useState<string>();
  useEffect(() => setText(undefined), [filter]);
  const count = async () => {
    let total = 0;
    let cursor: string | undefined;
    do {
      const page: Counts = await ask(`/admin/invocations/counts${query({ ...filter, cursor })}`);
      total += page.total;
      cursor = page.cursor ?? undefined;
      setText(`${total}${cursor ? "…" : ""}`);
    } while (cursor);
  };
  return text === undefined ? (
    <button type="button" class="small" onClick={() => count().catch((error: Error) => setText(error.message))}>
      Count
    </button>
  ) : (
    <output aria-label="Number of invocations">{text}</output>
  );
}
