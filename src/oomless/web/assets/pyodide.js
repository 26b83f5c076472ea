// Questions go to Python in workers of this page: short ones do not wait for long ones. The first worker starts
// with this file, before the page is read to its end.

import { isLong, withFiles } from "./state.js";

const ROOMY_GB = 4;
const QUIET_MS = 1500;
const waiting = new Map();
const quick = open();
let long = null;
let timer = null;
let settled = false;

function open() {
  const worker = new Worker(new URL("./worker.js", import.meta.url), { type: "module" });
  worker.addEventListener("message", ({ data }) => {
    waiting.get(data.id)?.(data);
    waiting.delete(data.id);
  });
  return worker;
}

function send(worker, message, signal) {
  const id = crypto.randomUUID();
  return new Promise((resolve) => {
    waiting.set(id, resolve);
    worker.postMessage({ id, ...message });
    signal?.addEventListener("abort", () => waiting.has(id) && worker.postMessage({ id, drop: true }));
  });
}

export async function start() {}

function settle() {
  settled = true;
  // what is of use later is done once nobody waits: the site is kept, and where memory is no matter the other
  // worker starts
  navigator.serviceWorker?.register(new URL("./offline.js", import.meta.url)).catch(() => {});
  if ((navigator.deviceMemory ?? ROOMY_GB) >= ROOMY_GB) long ??= open();
}

export async function ask(command, query, files, signal) {
  const name = command.replace(/^.*\//, "");
  const lane = isLong(name, `?${query}`) ? (long ??= open()) : quick;
  const content = files.length ? await new Blob(files.map((file) => file.content)).arrayBuffer() : new ArrayBuffer();
  const found = await send(lane, { command, query: withFiles(query, files), content }, signal);
  if (found.failed) throw new Error(found.failed);
  clearTimeout(timer);
  if (!settled) timer = setTimeout(settle, QUIET_MS);
  return { status: found.status, text: found.text };
}
