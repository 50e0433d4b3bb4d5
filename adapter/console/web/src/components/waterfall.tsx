/** The journal over time: a line for each entry, with a bar from when it was issued to when its result was there. */

import { useEffect, useState } from "preact/hooks";
import { path, query } from "../api/client";
import type { Invocation, Journal, JournalEntry, Summary } from "../api/schema";
import { useCommand } from "../commands";
import { failureText, inline, size, span, valueText } from "../format";
import { useLive, useNow } from "../live";
import { Copy, Fact, Time, To, Trouble, ValueView } from "./basics";
import type { Completable } from "./complete";

const PAGE = 200;
const DEPTH = 6;

interface Callbacks {
  /** Takes the time of the latest thing that happened, in milliseconds. */
  onLatest?: (time: number) => void;
  onRestart: (from: number) => void;
  onComplete: (of: Completable) => void;
}

/** The span of time that all bars are drawn in. */
interface Scale {
  start: number;
  length: number;
  /** Whether nothing happens after the end of the span but waiting. */
  cut: boolean;
}

const MARGIN = 1.15;
const IDLE = 2;

/** Return the span of an invocation. What only waits for long is cut: what happened before would be too small to see. */
function scaleOf(of: Invocation, latest: number, now: number): Scale {
  const start = Date.parse(of.created);
  const length = Math.max(1, (of.completed ? Date.parse(of.completed) : now) - start);
  const busy = Math.max(1, (latest - start) * MARGIN);
  const cut = !of.completed && latest > start && length > busy * IDLE;
  return { start, length: cut ? busy : length, cut };
}

export function Waterfall({ of, ...callbacks }: { of: Invocation } & Omit<Callbacks, "onLatest">) {
  const now = useNow();
  const command = useCommand();
  const [latest, setLatest] = useState(0);
  const scale = scaleOf(of, latest, now);
  return (
    <section aria-labelledby="journal">
      <h2 id="journal">Journal</h2>
      <div class="waterfall">
        <Axis scale={scale} />
        <Entries
          of={of}
          scale={scale}
          depth={0}
          onLatest={(time) => setLatest((before) => Math.max(before, time))}
          {...callbacks}
        />
      </div>
      <Copy text={command("inv", "show", of.id, "--payloads")} label="Command for the journal with values" />
    </section>
  );
}

function Axis({ scale }: { scale: Scale }) {
  const ticks = [0, 0.25, 0.5, 0.75, 1];
  return (
    <div class="entry axis" aria-hidden="true">
      <span />
      <svg viewBox="0 0 1000 16" preserveAspectRatio="none">
        {ticks.map((tick) => (
          <line key={tick} x1={tick * 1000} x2={tick * 1000} y1={8} y2={16} />
        ))}
      </svg>
      <span class="ticks">
        {ticks.map((tick) => (
          <span key={tick}>{tick === 1 && scale.cut ? "now" : span(tick * scale.length)}</span>
        ))}
      </span>
    </div>
  );
}

interface EntriesProps extends Callbacks {
  of: Pick<Summary, "id">;
  scale: Scale;
  depth: number;
}

function Entries({ of, scale, depth, ...callbacks }: EntriesProps) {
  const [pages, setPages] = useState<(string | undefined)[]>([undefined]);
  return (
    <ol style={{ "--depth": depth }}>
      {pages.map((cursor, index) => (
        <EntriesPage
          key={cursor ?? ""}
          id={of.id}
          cursor={cursor}
          scale={scale}
          depth={depth}
          onMore={index === pages.length - 1 ? (next) => setPages([...pages, next]) : undefined}
          {...callbacks}
        />
      ))}
    </ol>
  );
}

interface PageProps extends Callbacks {
  id: string;
  cursor?: string;
  scale: Scale;
  depth: number;
  onMore?: (cursor: string) => void;
}

function EntriesPage({ id, cursor, scale, depth, onMore, ...callbacks }: PageProps) {
  const { data, error } = useLive<Journal>(
    path("admin", "invocations", id, "journal") + query({ cursor, limit: PAGE }),
  );
  const { onLatest } = callbacks;
  useEffect(() => {
    if (data && onLatest) onLatest(latestOf(data.entries));
  }, [data]);
  if (!data) return <li>{error ? <Trouble error={error} /> : <span class="quiet">Loading…</span>}</li>;
  const next = data.cursor;
  return (
    <>
      {data.entries.length === 0 && <li class="quiet">Nothing yet.</li>}
      {data.entries.map((entry, index) =>
        entry.attempt !== undefined ? (
          <Attempt key={`attempt ${entry.attempt}`} of={entry} scale={scale} />
        ) : (
          <EntryLine
            key={`${entry.n ?? index} ${entry.part ?? ""}`}
            of={entry}
            owner={id}
            scale={scale}
            depth={depth}
            {...callbacks}
          />
        ),
      )}
      {next && onMore && (
        <li>
          <button type="button" class="small" onClick={() => onMore(next)}>
            More entries
          </button>
        </li>
      )}
    </>
  );
}

function latestOf(entries: JournalEntry[]): number {
  return Math.max(0, ...entries.flatMap(({ at, done }) => [at, done]).map((time) => (time ? Date.parse(time) : 0)));
}

function Attempt({ of, scale }: { of: JournalEntry; scale: Scale }) {
  return (
    <li class="attempt">
      <div class="entry">
        <span>
          attempt {of.attempt}
          {of.at && <span class="quiet"> {offset(of.at, scale)}</span>}
        </span>
        <Bar scale={scale} from={of.at} to={of.at} kind="attempt" label={`attempt ${of.attempt}`} />
        <span class="bad">
          {of.error ? `the one before failed: ${of.error}` : of.lost ? "the one before was lost" : ""}
        </span>
      </div>
    </li>
  );
}

interface LineProps extends Callbacks {
  of: JournalEntry;
  owner: string;
  scale: Scale;
  depth: number;
}

function EntryLine({ of, owner, scale, depth, ...callbacks }: LineProps) {
  const [open, setOpen] = useState(false);
  const words = `${of.command ?? ""} ${of.name ?? ""}`.trim();
  const took = of.duration_ms === undefined ? undefined : span(of.duration_ms);
  return (
    <li>
      <div class="entry">
        <button type="button" class="words" aria-expanded={open} onClick={() => setOpen(!open)}>
          <span class="number">{of.n}</span> <span class="command">{of.command}</span>{" "}
          <span class="mono">{of.name}</span>
        </button>
        <Bar
          scale={scale}
          from={of.at}
          to={of.done}
          kind={of.failure ? "failed" : of.done || !isWait(of) ? "done" : "open"}
          label={`${words}: ${of.at ? offset(of.at, scale) : ""}${took ? `, took ${took}` : ""}`}
        />
        <span class="result">
          {took && <span class="took">{took}</span>}
          {of.failure ? (
            <span class="bad">{failureText(of.failure)}</span>
          ) : (
            of.value && <span class="mono">{inline(of.value)}</span>
          )}
          {of.tries ? <span class="bad">failed {of.tries} times</span> : null}
          {!of.done && of.until && <Time at={of.until} />}
        </span>
      </div>
      {open && <Details of={of} owner={owner} scale={scale} depth={depth} {...callbacks} />}
    </li>
  );
}

/** Return true if the entry is of a kind that takes time, and has no result yet. */
function isWait(entry: JournalEntry): boolean {
  return (
    entry.value === undefined &&
    ["call", "run", "sleep", "awakeable", "promise", "signal", "attach"].includes(entry.command ?? "")
  );
}

function Details({ of, owner, scale, depth, ...callbacks }: LineProps) {
  const { awakeable, child, n } = of;
  return (
    <div class="details">
      <dl class="facts">
        {of.at && <Fact name="Issued">{offset(of.at, scale)}</Fact>}
        {of.done && <Fact name="Result">{offset(of.done, scale)}</Fact>}
        {of.until && (
          <Fact name="Until">
            <Time at={of.until} />
          </Fact>
        )}
        {of.size !== undefined && <Fact name="Size">{size(of.size)}</Fact>}
        {child && (
          <Fact name="Invocation">
            <To id={child} />
          </Fact>
        )}
        {awakeable && (
          <Fact name="Awakeable">
            <code class="mono">{awakeable}</code>
          </Fact>
        )}
      </dl>
      {of.value && valueText(of.value) !== "" && <ValueView value={of.value} label={`Value of entry ${n ?? ""}`} />}
      {of.failure && <p class="trouble">{failureText(of.failure)}</p>}
      <div class="bar">
        {awakeable && !of.done && (
          <button
            type="button"
            class="small"
            onClick={() => callbacks.onComplete({ kind: "awakeable", id: awakeable })}
          >
            Resolve or reject
          </button>
        )}
        {depth === 0 && n !== undefined && (
          <button type="button" class="small" onClick={() => callbacks.onRestart(n)}>
            Restart from here
          </button>
        )}
      </div>
      {child && depth < DEPTH && (
        <Entries of={{ id: child }} scale={scale} depth={depth + 1} {...callbacks} onLatest={undefined} />
      )}
    </div>
  );
}

interface BarProps {
  scale: Scale;
  from?: string;
  to?: string;
  kind: "done" | "failed" | "open" | "attempt";
  label: string;
}

function Bar({ scale, from, to, kind, label }: BarProps) {
  if (from === undefined) return <span />;
  const place = (time: number) => Math.min(1000, Math.max(0, ((time - scale.start) / scale.length) * 1000));
  const left = place(Date.parse(from));
  const end = to ? Date.parse(to) : kind === "open" ? scale.start + scale.length : Date.parse(from);
  const width = Math.max(4, place(end) - left);
  return (
    <svg
      class={`bar-of ${kind} ${scale.cut ? "cut" : ""}`}
      viewBox="0 0 1000 16"
      preserveAspectRatio="none"
      role="img"
      aria-label={label}
    >
      <rect x={Math.min(left, 996)} y={3} width={width} height={10} rx={2} />
    </svg>
  );
}

function offset(time: string, scale: Scale): string {
  return `+${span(Date.parse(time) - scale.start)}`;
}
