/** How the stack is: what is live, what fails, what stands still. */

import type { Overview as Answer, Summary } from "../api/schema";
import { useCommand } from "../commands";
import { Badge, Copy, Empty, Fact, Head, Time, To, Trouble } from "../components/basics";
import { span } from "../format";
import { useLive } from "../live";

const STATUSES = ["running", "ready", "suspended", "scheduled", "queued", "backing-off", "paused"];
const OUTCOMES = ["completed", "failed", "cancelled", "killed"];
const LATE = 180; // seconds since the last sweep, which is due each minute

export function Overview() {
  const { data, error } = useLive<Answer>("/admin/overview");
  const command = useCommand();
  return (
    <>
      <Head title="Overview" />
      {data ? (
        <Board of={data} />
      ) : (
        <Empty data={data} error={error}>
          Nothing.
        </Empty>
      )}
      {data && <Trouble error={error} />}
      <Copy text={command("inv", "list")} />
    </>
  );
}

function Board({ of }: { of: Answer }) {
  return (
    <>
      <section aria-labelledby="live">
        <h2 id="live">Live</h2>
        <ul class="tiles">
          {STATUSES.map((status) => (
            <Tile
              key={status}
              word={status}
              count={of.statuses[status] ?? 0}
              href={`/console/invocations?status=${status}`}
            />
          ))}
        </ul>
      </section>
      <section aria-labelledby="ended">
        <h2 id="ended">Ended</h2>
        <ul class="tiles">
          {OUTCOMES.map((outcome) => (
            <Tile
              key={outcome}
              word={outcome}
              count={of.outcomes[outcome] ?? 0}
              href={`/console/invocations?status=completed&outcome=${outcome}`}
            />
          ))}
        </ul>
        {!of.complete && <p class="quiet">There are more invocations than were counted.</p>}
      </section>
      <section aria-labelledby="failing">
        <h2 id="failing">Failing now</h2>
        {of.failing.length === 0 && <p class="quiet">Nothing fails.</p>}
        <ul class="lines">
          {of.failing.map((each) => (
            <Line key={each.id} of={each} />
          ))}
        </ul>
      </section>
      <section aria-labelledby="health">
        <h2 id="health">Health</h2>
        <dl class="facts">
          <Fact name="Oldest paused">
            {of.oldest_paused ? <To id={of.oldest_paused.id}>{of.oldest_paused.target}</To> : "none"}
          </Fact>
          <Fact name="Oldest due">{of.oldest_due ? <Time at={of.oldest_due} /> : "none"}</Fact>
          <Fact name="Last sweep">
            {of.sweeper.age_seconds == null ? (
              "not known here"
            ) : (
              <span class={of.sweeper.age_seconds > LATE ? "bad" : undefined}>
                {span(of.sweeper.age_seconds * 1000)} ago
              </span>
            )}
          </Fact>
          {of.requests && (
            <Fact name="Requests">
              {of.requests.per_second.toFixed(1)} a second; median {span(of.requests.p50_ms)}, 99th percentile{" "}
              {span(of.requests.p99_ms)}
            </Fact>
          )}
          <Fact name="Services">
            <a href="/console/services">{of.services}</a>
          </Fact>
          <Fact name="Deployments">
            <a href="/console/deployments">{of.deployments}</a>
          </Fact>
        </dl>
      </section>
    </>
  );
}

function Tile({ word, count, href }: { word: string; count: number; href: string }) {
  return (
    <li>
      <a class={`tile ${count ? word : "none"}`} href={href}>
        <strong>{count}</strong> {word}
      </a>
    </li>
  );
}

function Line({ of }: { of: Summary }) {
  return (
    <li class="line">
      <Badge of={of} /> <To id={of.id}>{of.target}</To> <Time at={of.created} /> <span class="quiet">{of.error}</span>
    </li>
  );
}
