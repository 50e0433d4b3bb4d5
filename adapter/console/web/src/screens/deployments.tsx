/** The deployments: what is live on each, and whether it can be removed. */

import { useState } from "preact/hooks";
import { ask, path, query, type Refused } from "../api/client";
import type { Deployment, Deployments as Answer, Removed } from "../api/schema";
import { useCommand } from "../commands";
import { Copy, Empty, Head, Time, Trouble } from "../components/basics";
import { Dialog } from "../components/dialog";
import { tell } from "../components/notices";
import { refresh, useLive } from "../live";

export function Deployments() {
  const { data, error } = useLive<Answer>("/admin/deployments");
  const [removing, setRemoving] = useState<Deployment>();
  const command = useCommand();
  return (
    <>
      <Head title="Deployments" />
      {data && data.deployments.length > 0 ? (
        <div class="table" tabIndex={0} role="region" aria-label="Deployments">
          <table>
            <thead>
              <tr>
                <th scope="col">Deployment</th>
                <th scope="col">Live</th>
                <th scope="col" class="matter">
                  Statuses
                </th>
                <th scope="col" class="created">
                  Created
                </th>
                <th scope="col" class="services">
                  Services
                </th>
                <th scope="col">Remove</th>
              </tr>
            </thead>
            <tbody>
              {data.deployments.map((each) => (
                <tr key={each.deployment}>
                  <td>
                    <span class="mono">{each.deployment || "this process"}</span>{" "}
                    {each.current && <span class="badge current">current</span>}
                  </td>
                  <td>
                    <a href={`/console/invocations${query({ status: "live", deployment: each.deployment })}`}>
                      {each.live}
                    </a>
                  </td>
                  <td class="matter">
                    {Object.entries(each.statuses)
                      .map(([status, count]) => `${count} ${status}`)
                      .join(", ")}
                  </td>
                  <td class="created">{each.created && <Time at={each.created} />}</td>
                  <td class="services">{each.services.join(", ")}</td>
                  <td>
                    {each.safe_to_delete ? (
                      <button
                        type="button"
                        class="small danger"
                        aria-label={`Remove ${each.deployment}`}
                        onClick={() => setRemoving(each)}
                      >
                        Remove
                      </button>
                    ) : (
                      <span class="quiet">
                        {each.current ? "in use: current" : each.live ? `in use: ${each.live} live` : "not known"}
                      </span>
                    )}
                  </td>
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      ) : (
        <Empty data={data} error={error}>
          Nothing is deployed.
        </Empty>
      )}
      {data && <Trouble error={error} />}
      {data && !data.complete && (
        <p class="quiet">
          Not all live invocations were counted: there are too many, or the stack keeps no history (History=false).
          Whether a deployment can be removed is then not known here.
        </p>
      )}
      <Copy text={command("deployments", "list")} />
      {removing && <Remove of={removing} onClose={() => setRemoving(undefined)} />}
    </>
  );
}

function Remove({ of, onClose }: { of: Deployment; onClose: () => void }) {
  const [error, setError] = useState<Refused>();
  const command = useCommand();
  const run = () =>
    ask<Removed>(path("admin", "deployments", of.deployment), { method: "DELETE" }).then(() => {
      tell(`${of.deployment} is removed.`);
      onClose();
      refresh();
    }, setError);
  return (
    <Dialog title={`Remove ${of.deployment}`} onClose={onClose}>
      <p>
        No invocation runs on it or will continue on it. The function's version is deleted, and cannot be brought back.
      </p>
      <Copy text={command("deployments", "remove", of.deployment)} />
      <Trouble error={error} />
      <footer>
        <button type="button" onClick={onClose}>
          Back
        </button>
        <button type="button" class="danger" onClick={() => void run()}>
          Remove
        </button>
      </footer>
    </Dialog>
  );
}
