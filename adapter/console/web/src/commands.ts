/** What to type at the command line for what the page does. */

import { useContext } from "preact/hooks";
import { createContext } from "preact";
import type { Config } from "./api/client";

export const ConfigContext = createContext<Config>({ options: "", stack: null, url: location.origin });

export function useConfig(): Config {
  return useContext(ConfigContext);
}

/** Return a function that makes a command line of words, with the options of this server. */
export function useCommand(): (...words: (string | undefined)[]) => string {
  const { options } = useConfig();
  return (...words) =>
    ["adapter", ...words.filter((word) => word !== undefined).map(quote), options].filter(Boolean).join(" ");
}

/** Quote a word for a POSIX shell, if it needs it. */
export function quote(word: string): string {
  return /^[A-Za-z0-9_\-+=:,./@%]+$/.test(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`;
}
