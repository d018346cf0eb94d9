#!/usr/bin/env node
// Signs every case of inputs.json with Node's crypto module and prints the result as JSON.

import { createHmac } from "node:crypto";
import { readFileSync } from "node:fs";

const read = (path) => readFileSync(new URL(path, import.meta.url));

function bodyOf(c) {
  if ("body_file" in c) return read(c.body_file);
  if ("body_repeat" in c) {
    const { hex, count } = c.body_repeat;
    return Buffer.from(hex.repeat(count), "hex");
  }
  return Buffer.from(c.body_hex, "hex");
}

function sign(c) {
  const key = Buffer.from(c.secret_hex, "hex");
  return "sha256=" + createHmac("sha256", key).update(bodyOf(c)).digest("hex");
}

const cases = JSON.parse(read("inputs.json"));
const result = {
  made_with: "Node.js " + process.version,
  signatures: Object.fromEntries(cases.map((c) => [c.name, sign(c)])),
};
console.log(JSON.stringify(result, null, 2));
