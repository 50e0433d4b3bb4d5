/** Shortcuts. They work while no field has the focus, and can be switched off. */

import { signal } from "@preact/signals";
import { useEffect } from "preact/hooks";

const STORED = "console.shortcuts";

export const enabled = signal(localStorage.getItem(STORED) !== "off");

export function enable(value: boolean): void {
  enabled.value = value;
  localStorage.setItem(STORED, value ? "on" : "off");
}

export type Keys = Record<string, () => void>;

let prefix = "";

/** Call a function when its key is pressed. A key may be a sequence of two, such as `g i`. */
export function useKeys(keys: Keys): void {
  useEffect(() => {
    const pressed = (event: KeyboardEvent) => {
      if (!enabled.value || event.ctrlKey || event.metaKey || event.altKey || isTyping(event.target)) return;
      if (document.querySelector("dialog[open]")) return;
      const run = keys[prefix ? `${prefix} ${event.key}` : event.key];
      if (!run) return;
      event.preventDefault();
      run();
    };
    document.addEventListener("keydown", pressed);
    return () => document.removeEventListener("keydown", pressed);
  }, [keys]);
}

/** Keep the first key of a sequence for a second. Call this once, after all other listeners are there. */
export function watchPrefix(first: string): void {
  document.addEventListener("keydown", (event) => {
    const starts = event.key === first && !prefix && !isTyping(event.target);
    // The listeners of this event have to see the prefix as it was.
    window.setTimeout(() => (prefix = starts ? first : ""), 0);
    if (starts) window.setTimeout(() => (prefix = ""), 1000);
  });
}

function isTyping(target: EventTarget | null): boolean {
  return target instanceof HTMLElement && (target.isContentEditable || /^(INPUT|TEXTAREA|SELECT)$/.test(target.tagName) && (target as HTMLInputElement).type !== "checkbox");
}
