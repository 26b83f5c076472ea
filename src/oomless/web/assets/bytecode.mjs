// Byte code for the Python of the page, made by that very Python: node bytecode.mjs LOADER CODE < SOURCES.tar > MADE.tar

import { readFileSync } from "node:fs";
import { buffer } from "node:stream/consumers";
import { pathToFileURL } from "node:url";

const [folder, code] = process.argv.slice(2);
const { loadPyodide } = await import(pathToFileURL(`${folder}/pyodide.mjs`));
const engine = await loadPyodide({ indexURL: `${folder}/`, env: { PYTHONHASHSEED: "0" } });
engine.runPython(readFileSync(code, "utf8"));
const made = engine.globals.get("compiled")(new Uint8Array(await buffer(process.stdin)));
process.stdout.write(made.toJs());
