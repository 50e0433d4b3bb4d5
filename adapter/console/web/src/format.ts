/** Times, spans and sizes for people. */

import type { Failure, Summary, Value } from "./api/schema";

/** Return a span such as `12 ms`, `4.2 s`, `3 min`, `5 h`, `2 d`. */
export function span(milliseconds: number): string {
  const ms = Math.max(0, milliseconds);
  if (ms < 1000) return `${Math.round(ms)} ms`;
  if (ms < 10_000) return `${(ms / 1000).toFixed(1)} s`;
  if (ms < 120_000) return `${Math.round(ms / 1000)} s`;
  if (ms < 7_200_000) return `${Math.round(ms / 60_000)} min`;
  if (ms < 172_800_000) return `${Math.round(ms / 3_600_000)} h`;
  return `${Math.round(ms / 86_400_000)} d`;
}

/** Return how long ago or how far ahead a time is. */
export function relative(time: string, now: number): string {
  const distance = now - Date.parse(time);
  return distance >= 0 ? `${span(distance)} ago` : `in ${span(-distance)}`;
}

/** Return a time as the reader's clock shows it. */
export function clock(time: string): string {
  return new Date(time).toLocaleString(undefined, { dateStyle: "medium", timeStyle: "medium" });
}

/** Return a size such as `812 B` or `12 KB`. */
export function size(bytes: number): string {
  if (bytes < 1024) return `${bytes} B`;
  return bytes < 1024 * 1024 ? `${(bytes / 1024).toFixed(1)} KB` : `${(bytes / 1024 / 1024).toFixed(1)} MB`;
}

/** Return a value as text, as much of it as the server sent. */
export function valueText(value: Value): string {
  if ("hidden" in value) return "(hidden)";
  if (value.json !== undefined) return JSON.stringify(value.json, null, 2);
  return value.text ?? (value.base64 !== undefined ? `base64: ${value.base64}` : "");
}

/** Return a value in one short line. */
export function inline(value: Value, length = 60): string {
  const text = value.json !== undefined ? JSON.stringify(value.json) : valueText(value);
  return text.length > length ? `${text.slice(0, length)}…` : text;
}

/** Return a failure in one line. */
export function failureText(failure: Failure): string {
  return `${failure.message} (${failure.code})`;
}

/** Return the word for a status: how a completed invocation ended, otherwise its status. */
export function state(summary: Pick<Summary, "status" | "outcome">): string {
  return summary.status === "completed" ? (summary.outcome ?? "completed") : summary.status;
}

/** Return the first characters of an id, which tell it from others on a page. */
export function short(id: string): string {
  return id.length > 16 ? `${id.slice(0, 12)}…` : id;
}
