/** What an invocation has logged: its lines from a development server, the command that prints them for a stack. */

import { useState } from "preact/hooks";
import { path } from "../api/client";
import type { Logs as Answer } from "../api/schema";
import { useCommand, useConfig } from "../commands";
import { clock } from "../format";
import { useLive } from "../live";
import { Copy, Empty } from "./basics";

export function Logs({ id }: { id: string }) {
  const { stack } = useConfig();
  const command = useCommand();
  const copy = <Copy text={command("inv", "logs", id)} label="Command for its logs" />;
  if (stack !== null) return copy;
  return (
    <section aria-labelledby="log">
      <h2 id="log">Log</h2>
      <Lines id={id} />
      {copy}
    </section>
  );
}

function Lines({ id }: { id: string }) {
  const [open, setOpen] = useState(false);
  const { data, error } = useLive<Answer>(open ? path("admin", "invocations", id, "logs") : null);
  return (
    <details onToggle={(event) => setOpen(event.currentTarget.open)}>
      <summary>Lines of this process</summary>
      {data?.lines.length ? (
        <pre class="value" tabIndex={0} role="group" aria-label="Log lines">
          {data.lines
            .map(({ timestamp, level, message, exception }) =>
              [`${clock(timestamp)} ${level.padEnd(7)} ${message}`, exception].filter(Boolean).join("\n"),
            )
            .join("\n")}
        </pre>
      ) : (
        <Empty data={data} error={error}>
          No line names it since the server started.
        </Empty>
      )}
    </details>
  );
}
