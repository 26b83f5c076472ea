// Imports every module of the exported site: node import_pyodide.mjs SITE prints {num_modules, missing}.

import { readFileSync } from "node:fs";
import { pathToFileURL } from "node:url";

const [site] = process.argv.slice(2);
const { install } = await import(pathToFileURL(`${site}/package.mjs`));
const { loadPyodide } = await import(pathToFileURL(`${site}/pyodide/pyodide.mjs`));
const engine = await loadPyodide({ indexURL: `${site}/pyodide/` });
install(engine, readFileSync(`${site}/oomless.bin`));
const found = engine.runPython(`
import importlib, json, pathlib
root, missing = pathlib.Path("/site"), {}
names = [".".join(path.relative_to(root).with_suffix("").parts) for path in sorted(root.rglob("*.pyc"))]
for name in names:
    try:
        importlib.import_module(name.removesuffix(".__init__"))
    except Exception as error:
        missing[name] = str(error)
json.dumps({"num_modules": len(names), "missing": missing})
`);
process.stdout.write(`${found}\n`);
