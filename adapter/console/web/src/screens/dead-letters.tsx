/** Messages that could not be delivered. */

import { useState } from "preact/hooks";
import { post, type Refused } from "../api/client";
import type { DeadLetters as Answer, Purged } from "../api/schema";
import { useCommand } from "../commands";
import { Copy, Empty, Head, Time, To, Trouble, ValueView } from "../components/basics";
import { Dialog } from "../components/dialog";
import { tell } from "../components/notices";
import { refresh, useLive } from "../live";

export function DeadLetters() {
  const { data, error } = useLive<Answer>("/admin/dead-letters");
  const [purging, setPurging] = useState(false);
  const command = useCommand();
  return (
    <>
      <Head title="Dead letters">{data && data.count > 0 && <span class="badge failed">{data.count}</span>}</Head>
      <p class="quiet">
        A message is here because its function could not be invoked. The sweeper dispatches its invocation again when it
        is due, so nothing is lost.
      </p>
      {data && data.messages.length > 0 ? (
        <>
          <Trouble error={error} />
          <button type="button" class="danger" onClick={() => setPurging(true)}>
            Purge all
          </button>
          {data.messages.map((each) => (
            <section key={each.id} class="card" aria-label={`Message ${each.id}`}>
              <p class="line">
                {each.function && <strong>{each.function}</strong>} {each.sent && <Time at={each.sent} />}
                {each.invocation_id && <To id={each.invocation_id} />}
                {each.reason && <span class="bad">{each.reason}</span>}
              </p>
              <ValueView value={each.body} label={`Body of message ${each.id}`} />
            </section>
          ))}
        </>
      ) : (
        <Empty data={data} error={error}>
          There are no dead letters.
        </Empty>
      )}
      <Copy text={command("dead-letters", "list")} />
      {purging && <Purge count={data?.count ?? 0} onClose={() => setPurging(false)} />}
    </>
  );
}

function Purge({ count, onClose }: { count: number; onClose: () => void }) {
  const [error, setError] = useState<Refused>();
  const command = useCommand();
  const run = () =>
    post<Purged>("/admin/dead-letters/purge").then(() => {
      tell("The dead letters are being deleted.");
      onClose();
      refresh();
    }, setError);
  return (
    <Dialog title="Purge the dead letters" onClose={onClose}>
      <p>About {count} messages are deleted. Their invocations stay as they are.</p>
      <Copy text={command("dead-letters", "purge")} />
      <Trouble error={error} />
      <footer>
        <button type="button" onClick={onClose}>
          Back
        </button>
        <button type="button" class="danger" onClick={() => void run()}>
          Purge all
        </button>
      </footer>
    </Dialog>
  );
}
