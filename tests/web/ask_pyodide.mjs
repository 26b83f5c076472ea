// Answers questions with the Python of the page's worker: node ask_pyodide.mjs LOADER ARCHIVE < QUESTIONS.
// A question is a line [command, query], its answer a line [status, text].

import { readFileSync } from "node:fs";
import { pathToFileURL } from "node:url";

const [folder, archive] = process.argv.slice(2);
const { loadPyodide } = await import(pathToFileURL(`${folder}/pyodide.mjs`));
const engine = await loadPyodide({ indexURL: `${folder}/` });
engine.unpackArchive(new Uint8Array(readFileSync(archive)), "gztar", { extractDir: "/site" });
const answer = engine.runPython(
  "import sys; sys.path.insert(0, '/site'); from oomless.web.in_browser import answer; answer",
);
for (const line of readFileSync(0, "utf8").trim().split("\n")) {
  const found = answer(...JSON.parse(line), new Uint8Array(0));
  process.stdout.write(`${JSON.stringify(found.toJs())}\n`);
  found.destroy();
}
