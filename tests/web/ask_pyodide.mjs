// Answers questions with the Python of the page's worker: node ask_pyodide.mjs SITE < QUESTIONS.
// A question is a line [command, query], its answer a line [status, text].

import { readFileSync } from "node:fs";
import { pathToFileURL } from "node:url";

const [site] = process.argv.slice(2);
const { install } = await import(pathToFileURL(`${site}/package.mjs`));
const { loadPyodide } = await import(pathToFileURL(`${site}/pyodide/pyodide.mjs`));
const engine = await loadPyodide({ indexURL: `${site}/pyodide/` });
const answer = install(engine, readFileSync(`${site}/oomless.bin`));
for (const line of readFileSync(0, "utf8").trim().split("\n")) {
  const found = answer(...JSON.parse(line), new Uint8Array(0));
  process.stdout.write(`${JSON.stringify(found.toJs())}\n`);
  found.destroy();
}
