// Questions go to Python in workers of this page: short ones do not wait for long ones. The worker that the address
// asks for starts with this file, before the page is read to its end.

import { isLong, withFiles } from "./state.js";

const ROOMY_GB = 4;
const QUIET_MS = 700;
const FIRST_PLAN = { command: "view/plan", query: "model=deepseek-r1-distill-qwen-7b&gpu=h100", content: new ArrayBuffer() };
const waiting = new Map();
const lanes = new Map();
let timer = null;
let settled = false;

laneOf(...location.hash.replace(/^#/, "").split("?"));

function laneOf(name, text) {
  const kind = isLong(name, `?${text}`) ? "long" : "quick";
  if (!lanes.has(kind)) lanes.set(kind, open());
  return lanes.get(kind);
}

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

async function settle() {
  settled = true;
  // what is of use later is done once nobody waits: where memory is no matter the other worker starts and reads what
  // plans need, by one whose answer nobody sees; then all of the site is kept
  if ((navigator.deviceMemory ?? ROOMY_GB) >= ROOMY_GB) {
    laneOf("infer", "");
    if (!lanes.has("long")) await send(laneOf("plan", ""), FIRST_PLAN);
  }
  navigator.serviceWorker?.register(new URL("./offline.js", import.meta.url)).catch(() => {});
}

export async function ask(command, query, files, signal) {
  const lane = laneOf(command.replace(/^.*\//, ""), query);
  const content = files.length ? await new Blob(files.map((file) => file.content)).arrayBuffer() : new ArrayBuffer();
  const found = await send(lane, { command, query: withFiles(query, files), content }, signal);
  if (found.failed) throw new Error(found.failed);
  clearTimeout(timer);
  if (!settled) timer = setTimeout(settle, QUIET_MS);
  return { status: found.status, text: found.text };
}
