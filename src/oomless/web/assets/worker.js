// Python in a worker: the loader and the package come from this site's own folder.

import { loadPyodide } from "./pyodide/pyodide.mjs";

async function python() {
  const [engine, archive] = await Promise.all([
    loadPyodide({ indexURL: new URL("./pyodide/", import.meta.url).href }),
    fetch(new URL("./oomless.tar.gz", import.meta.url)).then((answer) => answer.arrayBuffer()),
  ]);
  engine.unpackArchive(archive, "gztar", { extractDir: "/site" });
  return engine.runPython("import sys; sys.path.insert(0, '/site'); from oomless.web.in_browser import answer; answer");
}

const ready = python();

self.addEventListener("message", async ({ data: { id, command, query, content } }) => {
  try {
    const answer = await ready;
    const found = answer(command, query, new Uint8Array(content));
    const [status, text] = found.toJs();
    found.destroy();
    self.postMessage({ id, status, text });
  } catch (error) {
    self.postMessage({ id, failed: String(error) });
  }
});
