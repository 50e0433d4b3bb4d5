/** The request of the playground as code to copy. */

import { readJson } from "../api/client";
import { quote } from "../commands";

export interface Call {
  service: string;
  key?: string;
  handler: string;
  /** The body in JSON; undefined for a handler without input. */
  body?: string;
  mode: "call" | "send";
  delay?: string;
  idempotencyKey?: string;
  headers: Record<string, string>;
}

/** Return the path and query of the request. */
export function target({ service, key, handler, mode, delay }: Call): string {
  const segments = [service, ...(key === undefined ? [] : [key]), handler, ...(mode === "send" ? ["send"] : [])];
  const query = mode === "send" && delay ? `?delay=${encodeURIComponent(delay)}` : "";
  return `/${segments.map(encodeURIComponent).join("/")}${query}`;
}

/** Return the headers of the request, but for its content type. */
export function headersOf(call: Call): Record<string, string> {
  return { ...call.headers, ...(call.idempotencyKey ? { "idempotency-key": call.idempotencyKey } : {}) };
}

/** Return the request as curl makes it. A stack with authorization by IAM needs `--aws-sigv4` as well. */
export function curl(call: Call, url: string): string {
  const headers = Object.entries(headersOf(call)).map(([name, value]) => `-H ${quote(`${name}: ${value}`)}`);
  const body = call.body === undefined ? "-X POST" : `--json ${quote(call.body)}`;
  return ["curl", quote(url + target(call)), body, ...headers].join(" ");
}

/** Return the request as the Python client makes it. */
export function python(call: Call, url: string): string {
  const more = [
    ...(call.key === undefined ? [] : [`key=${text(call.key)}`]),
    ...(call.body === undefined ? [] : [`parameter=${literal(readJson(call.body))}`]),
    ...(call.mode === "send" && call.delay ? [`delay=timedelta(seconds=${seconds(call.delay)})`] : []),
    ...(call.idempotencyKey ? [`idempotency_key=${text(call.idempotencyKey)}`] : []),
    ...(Object.keys(call.headers).length ? [`headers=${literal(call.headers)}`] : []),
  ];
  const method = call.mode === "send" ? "generic_send" : "generic_call";
  const lines = [
    "from adapter import Client",
    "",
    `async with Client(${text(url)}) as client:`,
    `    result = await client.${method}(`,
    ...[`service=${text(call.service)}`, `method=${text(call.handler)}`, ...more].map((each) => `        ${each},`),
    "    )",
  ];
  return (more.some((each) => each.startsWith("delay=")) ? "from datetime import timedelta\n" : "") + lines.join("\n");
}

function seconds(delay: string): string {
  const [, count = delay, unit = "s"] = delay.match(/^(\d+)(ms|s|m|h|d)$/) ?? [];
  const factor = { ms: 0.001, s: 1, m: 60, h: 3600, d: 86_400 }[unit] ?? 1;
  return String(Number(count) * factor);
}

function text(value: string): string {
  return JSON.stringify(value);
}

/** Return a value as Python writes it. */
function literal(value: unknown): string {
  if (value === null) return "None";
  if (value === true) return "True";
  if (value === false) return "False";
  if (Array.isArray(value)) return `[${value.map(literal).join(", ")}]`;
  if (typeof value === "object" && !("rawJSON" in value)) {
    return `{${Object.entries(value)
      .map(([name, each]) => `${text(name)}: ${literal(each)}`)
      .join(", ")}}`;
  }
  return JSON.stringify(value);
}
