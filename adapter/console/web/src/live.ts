/** Answers that are kept current by asking again. */

import { signal } from "@preact/signals";
import { useCallback, useEffect, useRef, useState } from "preact/hooks";
import { askText, readJson, Refused } from "./api/client";

const LOOKERS = new Set<() => void>();
const SLOWEST = 30_000;
let interval = 1000;

/** Whether the page stays as it is, and asks for nothing. */
export const paused = signal(false);

/** Set the milliseconds between two looks. A stack is asked less often than a development server: its requests cost. */
export function setPace(milliseconds: number): void {
  interval = milliseconds;
}

/** Look again now, everywhere: something was changed. */
export function refresh(): void {
  for (const look of LOOKERS) look();
}

export interface Live<T> {
  data?: T;
  error?: Refused;
  /** The path that `data` is the answer of. */
  path?: string;
}

interface State<T> extends Live<T> {
  text?: string;
}

/**
 * Return the newest answer to a GET, and render again when it changes.
 *
 * Nothing is asked for while the page is hidden or `path` is null. After an error the next look is later each time.
 * With `keep`, the answer of the path before is shown until the one of a new path is there.
 */
export function useLive<T>(path: string | null, keep = false): Live<T> {
  const [state, setState] = useState<State<T>>({});
  const shown = useRef<State<T>>({});
  const show = useCallback((next: State<T>) => {
    shown.current = next;
    setState(next);
  }, []);

  useEffect(() => {
    if (path === null) return;
    let wait = interval;
    let timer: number | undefined;
    let asking: AbortController | undefined;

    const look = async () => {
      window.clearTimeout(timer);
      asking?.abort();
      const mine = (asking = new AbortController());
      try {
        const text = await askText(path, { signal: mine.signal, headers: { "x-adapter-console": "1" } });
        if (mine.signal.aborted) return;
        const before = shown.current;
        if (before.text !== text || before.path !== path || before.error) {
          show({ data: readJson(text) as T, text, path });
        }
        wait = interval;
      } catch (error) {
        if (mine.signal.aborted) return;
        const refused = error instanceof Refused ? error : new Refused(0, { detail: String(error) });
        const before = shown.current;
        show(before.path === path ? { ...before, error: refused } : { path, error: refused });
        wait = Math.min(wait * 2, SLOWEST);
      }
      timer = window.setTimeout(again, wait);
    };
    const again = () => {
      if (document.hidden || paused.value) timer = window.setTimeout(again, interval);
      else void look();
    };
    const now = () => void look();

    LOOKERS.add(now);
    now();
    return () => {
      LOOKERS.delete(now);
      window.clearTimeout(timer);
      asking?.abort();
    };
  }, [path, show]);

  return keep || state.path === path ? state : {};
}

/** Return the current time, and render again each second. */
export function useNow(): number {
  const [now, setNow] = useState(Date.now());
  useEffect(() => {
    const timer = window.setInterval(() => !document.hidden && setNow(Date.now()), 1000);
    return () => window.clearInterval(timer);
  }, []);
  return now;
}
