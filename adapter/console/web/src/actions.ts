/** What can be done to invocations. */

import type { Filter, Summary } from "./api/schema";

export type ActionName = "cancel" | "kill" | "pause" | "resume" | "restart-as-new" | "purge";

interface Described {
  label: string;
  /** The effect of the action, as the dialog states it. */
  effect: string;
  /** The past participle, for the notice. */
  done: string;
  /** The command's name, after `adapter inv`. */
  command: string;
  destructive: boolean;
}

export const ACTIONS: Record<ActionName, Described> = {
  cancel: {
    label: "Cancel",
    effect:
      "A terminal error surfaces at the handler's next await, first in the calls that it waits for. The handler can clean up.",
    done: "cancelled",
    command: "cancel",
    destructive: true,
  },
  kill: {
    label: "Kill",
    effect: "The invocation ends at once, with the calls that it made. Its key is released. Nothing is cleaned up.",
    done: "killed",
    command: "kill",
    destructive: true,
  },
  pause: {
    label: "Pause",
    effect: "The invocation stops at its next commit, until it is resumed.",
    done: "paused",
    command: "pause",
    destructive: false,
  },
  resume: {
    label: "Resume",
    effect: "The invocation continues now, on its deployment or on another one.",
    done: "resumed",
    command: "resume",
    destructive: false,
  },
  "restart-as-new": {
    label: "Restart",
    effect:
      "A new invocation runs the same request, perhaps from a part of this one's journal. This one stays as it is: a live one continues.",
    done: "restarted",
    command: "restart",
    destructive: false,
  },
  purge: {
    label: "Purge",
    effect: "The invocation is forgotten: its result, its journal and its idempotency key.",
    done: "purged",
    command: "purge",
    destructive: true,
  },
};

/** Return the actions that an invocation of this status accepts. */
export function actionsFor({ status }: Pick<Summary, "status">): ActionName[] {
  if (status === "completed") return ["restart-as-new", "purge"];
  const stopped = status === "paused" || status === "backing-off";
  const standing: ActionName[] = status === "paused" || status === "queued" ? [] : ["pause"];
  return [...(stopped ? (["resume"] as const) : []), "cancel", "kill", ...standing, "restart-as-new"];
}

/** The options of a filter that are not called as the parameters of the query are. */
const OPTIONS: Record<string, string> = { until: "--older-than", deployment: "--on" };

/** Return the words of a filter at the command line. */
export function filterWords(filter: Filter): string[] {
  const words: string[] = [];
  for (const [name, value] of Object.entries(filter)) {
    const option = OPTIONS[name] ?? `--${name}`;
    for (const each of Array.isArray(value) ? value : [value]) if (each) words.push(option, each);
  }
  return words.length ? words : ["--all"];
}
