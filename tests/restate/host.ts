// Hosts services as the first argument says: a port to serve HTTP/2 on (0 for a free one), `http1`, or `lambda`.

import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { createInterface } from "node:readline";
import * as restate from "@restatedev/restate-sdk";
import { createEndpointHandler as createHandler } from "@restatedev/restate-sdk/node";
import { createEndpointHandler } from "@restatedev/restate-sdk/lambda";

const quiet: restate.LoggerTransport = ({ level }, ...parts) => {
  if (level === "error") console.error(...parts);
};

// The Lambda handler gets an event per line of stdin, and writes an answer per line of stdout. Events are handled at
// once, as by concurrent sandboxes.
export const host = async (services: Parameters<typeof restate.serve>[0]["services"]) => {
  const identityKeys = process.env.IDENTITY_KEY ? [process.env.IDENTITY_KEY] : [];
  if (process.argv[2] === "http1") {
    const server = createServer(createHandler({ services, logger: quiet, identityKeys, bidirectional: true }));
    server.listen(0, "127.0.0.1", () => console.log("listening on", (server.address() as AddressInfo).port));
    return;
  }
  if (process.argv[2] !== "lambda") {
    const port = await restate.serve({ services, port: Number(process.argv[2]), logger: quiet, identityKeys });
    console.log("listening on", port);
    return;
  }
  const handler = createEndpointHandler({ services, logger: quiet, identityKeys });
  for await (const line of createInterface({ input: process.stdin })) {
    const { call, event } = JSON.parse(line);
    void handler(event, {} as never).then((answer) => process.stdout.write(`${JSON.stringify({ call, answer })}\n`));
  }
};
