// Python in a worker: the loader and the package come from this site's own folder.

import { install } from "./package.mjs";
import { loadPyodide } from "./pyodide/pyodide.mjs";

async function python() {
  const [engine, content] = await Promise.all([
    loadPyodide({ indexURL: new URL("./pyodide/", import.meta.url).href }),
    fetch(new URL("./oomless.bin", import.meta.url)).then((answer) => answer.arrayBuffer()),
  ]);
  return install(engine, content);
}

const ready = python();
const dropped = new Set();
const PUT_ASIDE = 202;
const { port1: mine, port2: next } = new MessageChannel();
let goesOn = [];

mine.addEventListener("message", () => goesOn.shift()());
mine.start();

function others() {
  // what was sent meanwhile is heard before a search goes on
  return new Promise((done) => {
    goesOn.push(done);
    next.postMessage(null);
  });
}

async function asked(id, command, query, content) {
  const answer = await ready;
  for (;;) {
    if (dropped.delete(id)) return { id, failed: "not wanted any more" };
    const found = answer(command, query, new Uint8Array(content));
    const [status, text] = found.toJs();
    found.destroy();
    if (status !== PUT_ASIDE) return { id, status, text };
    await others();
  }
}

self.addEventListener("message", async ({ data: { id, command, query, content, drop } }) => {
  if (drop) {
    dropped.add(id);
    return;
  }
  try {
    self.postMessage(await asked(id, command, query, content));
  } catch (error) {
    self.postMessage({ id, failed: String(error) });
  }
});
