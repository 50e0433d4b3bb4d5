/** Requests to the server that this page came from. */

import type { Problem } from "./schema";

export interface Config {
  /** The options by which a command reaches the same server, such as `--stack shop`. */
  options: string;
  /** The name of the stack; null for a development server. */
  stack: string | null;
  /** The base URL at which the handlers are called from elsewhere. */
  url: string;
}

/** The server refused a request. */
export class Refused extends Error {
  constructor(
    readonly status: number,
    readonly problem: Partial<Problem>,
  ) {
    super(problem.detail ?? problem.message ?? `the server answered ${status}`);
  }
}

export interface Answer {
  status: number;
  text: string;
  headers: Headers;
}

/** Send a request, and return the answer whatever its status. */
export async function send(path: string, init: RequestInit = {}): Promise<Answer> {
  let response: Response;
  let text: string;
  try {
    response = await fetch(path, { cache: "no-store", ...init });
    text = await response.text();
  } catch (error) {
    if (init.signal?.aborted) throw error;
    throw new Refused(0, { detail: "the server does not answer: is it running?" });
  }
  return { status: response.status, text, headers: response.headers };
}

/** Send a request, and return the text of the answer. */
export async function askText(path: string, init: RequestInit = {}): Promise<string> {
  const answer = await send(path, init);
  if (answer.status >= 400) throw new Refused(answer.status, parsed(answer.text));
  return answer.text;
}

/** Send a request, and return the answer's value. */
export async function ask<T>(path: string, init: RequestInit = {}): Promise<T> {
  return readJson(await askText(path, init)) as T;
}

/** Send a value by POST, and return the answer's value. */
export function post<T>(path: string, body?: unknown, more: Record<string, string> = {}): Promise<T> {
  if (body === undefined) return ask<T>(path, { method: "POST", headers: more });
  const headers = { "content-type": "application/json", ...more };
  return ask<T>(path, { method: "POST", headers, body: JSON.stringify(body) });
}

/** Return a new idempotency key. The server carries out repeated requests with one key once. */
export function newKey(): string {
  return crypto.getRandomValues(new Uint32Array(4)).join("-");
}

type Reviver = (key: string, value: unknown, context?: { source?: string }) => unknown;

/** Parse JSON. An integer that a number of JavaScript cannot hold is kept as it is written, and is written so again. */
export function readJson(text: string): unknown {
  const raw = (JSON as { rawJSON?: (source: string) => unknown }).rawJSON;
  const keep: Reviver = (_, value, context) => {
    const source = context?.source;
    const large = typeof value === "number" && !Number.isSafeInteger(value) && source && /^-?\d+$/.test(source);
    return large && raw ? raw(source) : value;
  };
  return JSON.parse(text, keep as Parameters<typeof JSON.parse>[1]);
}

/** Return JSON that a person wrote without its spaces, or what is wrong with it. */
export function compactJson(text: string): string | Error {
  try {
    return JSON.stringify(readJson(text));
  } catch (error) {
    return new Error(`The value is not JSON: ${(error as Error).message}`);
  }
}

function parsed(text: string): Partial<Problem> {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === "object" && value !== null ? value : { detail: text };
  } catch {
    return { detail: text.slice(0, 500) };
  }
}

/** Build a path with encoded segments. */
export function path(...segments: string[]): string {
  return `/${segments.map(encodeURIComponent).join("/")}`;
}

/** Build a query; undefined and empty values are left out, lists are repeated. */
export function query(values: Record<string, string | number | string[] | undefined>): string {
  const pairs = new URLSearchParams();
  for (const [name, value] of Object.entries(values)) {
    for (const each of Array.isArray(value) ? value : [value]) {
      if (each !== undefined && each !== "") pairs.append(name, String(each));
    }
  }
  const text = pairs.toString();
  return text ? `?${text}` : "";
}
