/** Keys that have an owner or a queue, and a way to any other key. */

import { useState } from "preact/hooks";
import { useLocation } from "preact-iso";
import { query } from "../api/client";
import type { Keys as Page, Services } from "../api/schema";
import { useCommand } from "../commands";
import { Copy, Empty, Head, To, ToKey, Trouble } from "../components/basics";
import { useLive } from "../live";

export function Keys() {
  const { route } = useLocation();
  const [service, setService] = useState("");
  const [key, setKey] = useState("");
  const [queued, setQueued] = useState(false);
  const services = useLive<Services>("/admin/services").data?.services.filter((each) => each.kind !== "service") ?? [];
  const [cursor, setCursor] = useState<string>();
  const asked = { service, queued: queued ? "true" : undefined, cursor };
  const { data, error } = useLive<Page>(`/admin/keys${query(asked)}`, true);
  const command = useCommand();
  const named = service || services[0]?.name || "";
  return (
    <>
      <Head title="Keys" />
      <form
        class="filters"
        aria-label="Key"
        onSubmit={(event) => {
          event.preventDefault();
          if (key) route(`/console/keys/${encodeURIComponent(named)}${query({ key })}`);
        }}
      >
        <label>
          Service
          <select
            value={service}
            onChange={(event) => {
              setService(event.currentTarget.value);
              setCursor(undefined);
            }}
          >
            <option value="">all</option>
            {services.map((each) => (
              <option key={each.name}>{each.name}</option>
            ))}
          </select>
        </label>
        <label class="check">
          <input
            type="checkbox"
            checked={queued}
            onChange={(event) => {
              setQueued(event.currentTarget.checked);
              setCursor(undefined);
            }}
          />{" "}
          only with a queue
        </label>
        <label>
          Key of {named}
          <input type="search" value={key} onInput={(event) => setKey(event.currentTarget.value)} />
        </label>
        <button type="submit" disabled={!key}>
          Open
        </button>
      </form>
      {data && data.keys.length > 0 ? (
        <div class="table" tabIndex={0} role="region" aria-label="Keys">
          <table>
            <thead>
              <tr>
                <th scope="col">Key</th>
                <th scope="col">Waiting</th>
                <th scope="col">Owner</th>
              </tr>
            </thead>
            <tbody>
              {data.keys.map((each) => (
                <tr key={`${each.service}/${each.key}`}>
                  <td>
                    <ToKey service={each.service} of={each.key} />
                  </td>
                  <td>{each.waiting}</td>
                  <td>{each.owner && <To id={each.owner} />}</td>
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      ) : (
        <Empty data={data} error={error}>
          {data?.cursor || cursor ? "No key here. There may be some further on." : "No key is owned or waited for."}
        </Empty>
      )}
      {data && <Trouble error={error} />}
      {data && !data.complete && (
        <p class="quiet">The index is switched off: only keys of invocations with a due time are listed.</p>
      )}
      {(cursor || data?.cursor) && (
        <div class="bar">
          {cursor && (
            <button type="button" onClick={() => setCursor(undefined)}>
              First
            </button>
          )}
          {data?.cursor && (
            <button type="button" onClick={() => setCursor(data.cursor!)}>
              More
            </button>
          )}
        </div>
      )}
      <Copy text={command("keys", "list", ...(service ? ["--service", service] : []), ...(queued ? [] : ["--all"]))} />
    </>
  );
}
