/** The calls and sends of an invocation, and its callers. */

import { path } from "../api/client";
import type { Child, Tree } from "../api/schema";
import { useCommand } from "../commands";
import { useLive } from "../live";
import { Badge, Copy, To } from "./basics";

export function CallTree({ id }: { id: string }) {
  const { data } = useLive<Tree>(path("admin", "invocations", id, "tree"));
  const command = useCommand();
  if (!data || (data.ancestors.length === 0 && data.children.length === 0)) return null;
  const root = (
    <li aria-current="true">
      <Badge of={data} /> <strong class="mono">{data.target}</strong>
      <Children of={data.children} />
    </li>
  );
  return (
    <section aria-labelledby="tree">
      <h2 id="tree">Calls</h2>
      <ul class="tree">
        {data.ancestors.reduce(
          (inner, each) => (
            <li>
              <Badge of={each} /> <To id={each.id}>{each.target}</To>
              <ul>{inner}</ul>
            </li>
          ),
          root,
        )}
      </ul>
      {data.truncated && <p class="quiet">There are more calls below.</p>}
      <Copy text={command("inv", "show", id, "--tree")} />
    </section>
  );
}

function Children({ of }: { of: Child[] }) {
  if (of.length === 0) return null;
  return (
    <ul>
      {of.map((each) => (
        <li key={each.id}>
          <Badge of={each} /> <To id={each.id}>{each.target}</To>{" "}
          <span class="quiet">
            {each.sent ? "sent" : "called"} by entry {each.command}
          </span>
          <Children of={each.children} />
        </li>
      ))}
    </ul>
  );
}
