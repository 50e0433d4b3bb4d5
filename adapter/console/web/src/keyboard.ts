/** Shortcuts. They work while no field has the focus and no dialog is open, and can be switched off. */

import { signal } from "@preact/signals";
import { useLayoutEffect } from "preact/hooks";

const STORED = "console.shortcuts";
const FIRST = "g";
const PATIENCE = 1000; // milliseconds between the two keys of a sequence

export const enabled = signal(localStorage.getItem(STORED) !== "off");

export function enable(value: boolean): void {
  enabled.value = value;
  localStorage.setItem(STORED, value ? "on" : "off");
}

/** Functions by their keys. A key may be a sequence of two, such as `g i`. */
export type Keys = Record<string, () => void>;

const REGISTERED = new Set<Keys>();
let begun = -Infinity; // when the first key of a sequence was pressed

/** Call a function when its key is pressed, while the component is shown. */
export function useKeys(keys: Keys): void {
  // Before the next key is pressed: an effect after the paint may be too late.
  useLayoutEffect(() => {
    REGISTERED.add(keys);
    return () => void REGISTERED.delete(keys);
  }, [keys]);
}

document.addEventListener("keydown", (event) => {
  if (!enabled.value || event.ctrlKey || event.metaKey || event.altKey) return;
  if (isTyping(event.target) || document.querySelector("dialog[open]")) return;
  const now = performance.now();
  const key = now - begun < PATIENCE ? `${FIRST} ${event.key}` : event.key;
  begun = key === FIRST ? now : -Infinity;
  const run = [...REGISTERED].map((keys) => keys[key]).find((each) => each !== undefined);
  if (!run) return;
  event.preventDefault();
  run();
});

function isTyping(target: EventTarget | null): boolean {
  if (!(target instanceof HTMLElement)) return false;
  if (target instanceof HTMLInputElement) return target.type !== "checkbox";
  return target.isContentEditable || target instanceof HTMLTextAreaElement || target instanceof HTMLSelectElement;
}
