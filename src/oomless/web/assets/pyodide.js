// Questions go to Python in workers of this page: short ones do not wait for long ones.

import { isLong, withFiles } from "./state.js";

const ROOMY_GB = 4;
const waiting = new Map();
let quick = null;
let long = null;

function open() {
  const worker = new Worker(new URL("./worker.js", import.meta.url), { type: "module" });
  worker.addEventListener("message", ({ data }) => {
    waiting.get(data.id)?.(data);
    waiting.delete(data.id);
  });
  return worker;
}

function send(worker, message) {
  const id = crypto.randomUUID();
  return new Promise((resolve) => {
    waiting.set(id, resolve);
    worker.postMessage({ id, ...message });
  });
}

export async function start() {
  navigator.serviceWorker?.register(new URL("./offline.js", import.meta.url)).catch(() => {});
  quick = open();
}

export async function ask(command, query, files) {
  const name = command.replace(/^view\//, "");
  const lane = isLong(name, `?${query}`) ? (long ??= open()) : quick;
  const found = await send(lane, { command, query: withFiles(query, files), content: await new Blob(files.map((file) => file.content)).arrayBuffer() });
  if (found.failed) throw new Error(found.failed);
  // where memory is no matter, the other worker starts before it is needed
  if ((navigator.deviceMemory ?? ROOMY_GB) >= ROOMY_GB) long ??= open();
  return { status: found.status, text: found.text };
}
