// Unpacks the npm package's Chromium, and the libraries that a small machine lacks: node inflate.mjs DIRECTORY
import { createReadStream, createWriteStream } from "node:fs";
import { pipeline } from "node:stream/promises";
import { createBrotliDecompress } from "node:zlib";

const [directory] = process.argv.slice(2);
const packed = `${directory}/node_modules/@sparticuz/chromium/bin`;

async function inflate(from, to, mode) {
  await pipeline(createReadStream(`${packed}/${from}`), createBrotliDecompress(), createWriteStream(to, { mode }));
}

await inflate("chromium.br", `${directory}/chromium`, 0o755);
await inflate("al2023.tar.br", `${directory}/libraries.tar`, 0o644);
