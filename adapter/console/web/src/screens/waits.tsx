/** Who waits for whom, and the deadlocks among them. */

import { useEffect, useState } from "preact/hooks";
import type { Deadlock, Deadlocks, Waits as Answer } from "../api/schema";
import { useCommand } from "../commands";
import { ActDialog } from "../components/act";
import { Badge, Copy, Empty, Head, Time, To, Trouble } from "../components/basics";
import type { Graph as GraphOf } from "../components/graph";
import { useLive } from "../live";

export function Waits() {
  const waits = useLive<Answer>("/admin/waits");
  const { data } = useLive<Deadlocks>("/admin/deadlocks");
  const [breaking, setBreaking] = useState<string>();
  const [Graph, setGraph] = useState<typeof GraphOf>();
  const command = useCommand();
  useEffect(() => {
    void import("../components/graph").then((loaded) => setGraph(() => loaded.Graph));
  }, []);
  const stuck = new Set(data?.deadlocks.flatMap((each) => each.cycle.map((link) => link.id)));
  return (
    <>
      <Head title="Waits" />
      {data?.deadlocks.map((each) => (
        <DeadlockCard key={each.text} of={each} onBreak={setBreaking} />
      ))}
      {data?.deadlocks.length === 0 && <p class="quiet">There is no deadlock.</p>}
      <Copy text={command("deadlocks")} />
      {waits.data && waits.data.nodes.length > 0 ? (
        <>
          <Trouble error={waits.error} />
          {Graph && <Graph of={waits.data} stuck={stuck} />}
          {waits.data.truncated && <p class="quiet">More invocations wait than are shown.</p>}
        </>
      ) : (
        <Empty data={waits.data} error={waits.error}>
          No invocation waits for another one.
        </Empty>
      )}
      {breaking && <ActDialog request={{ action: "cancel", ids: [breaking] }} onClose={() => setBreaking(undefined)} />}
    </>
  );
}

function DeadlockCard({ of, onBreak }: { of: Deadlock; onBreak: (id: string) => void }) {
  const youngest = of.cycle.reduce((one, other) => (other.created > one.created ? other : one), of.cycle[0]!);
  return (
    <section class="card deadlock" aria-label={`Deadlock ${of.text}`}>
      <h2>Deadlock</h2>
      <p class="mono">{of.text}</p>
      <ul class="lines">
        {of.cycle.map((each) => (
          <li key={each.id} class="line">
            <Badge of={each} /> <To id={each.id}>{each.target}</To> <Time at={each.created} />
            {each.id === youngest.id && <span class="quiet">youngest</span>}
          </li>
        ))}
      </ul>
      <button type="button" class="danger" onClick={() => onBreak(youngest.id)}>
        Break it: cancel the youngest
      </button>
    </section>
  );
}
