// The page: forms write the address, the address is asked, the answer is shown. Nothing is computed here.

import { isLong, query, read, value, write } from "./state.js";

const root = document.documentElement;
const said = JSON.parse(document.body.dataset.said);
const versions = JSON.parse(document.body.dataset.versions);
const backend = await import(root.dataset.backend === "server" ? "./server.js" : "./pyodide.js");
const $ = (id) => document.getElementById(id);
const forms = [...document.querySelectorAll("form")];
const views = forms.map((form) => form.dataset.command);
const FIRST = { infer: [["model", "deepseek-r1"], ["gpu", "h200:8"]] };
const WAIT_MS = 150;
const OK = 200;

let state = read(location.hash, views);
let files = [];
let field = "";
let latest = new AbortController();
let pinned = new AbortController();
let shown = null;
let timer = null;
let busy = false;
let stale = false;

function formOf(view) {
  return $(`form-${view}`);
}

// address -> form

function fill(form) {
  const pairs = state.pairs;
  for (const box of form.querySelectorAll("[name]")) {
    if (box.name === "card" || box.name === "count") continue;
    const given = pairs.filter(([name]) => name === box.name);
    if (box.type === "checkbox") box.checked = given.length > 0;
    else box.value = given.map(([, text]) => text).join(box.dataset.kind === "several" ? ", " : "");
  }
  const cards = form.querySelector("[name=card]");
  if (cards) {
    const [, card, count] = /^(.*?)(?::(\d+))?$/.exec(value(pairs, "gpu"));
    cards.value = card;
    form.querySelector("[name=count]").value = count ?? "";
  }
  for (const group of form.querySelectorAll("details.more")) {
    if ([...group.querySelectorAll("[name]")].some((box) => (box.type === "checkbox" ? box.checked : box.value))) {
      group.open = true;
      group.closest("details.all").open = true;
    }
  }
  arrange(form);
}

// what the chosen engine does not know is put away; sliders and releases follow

function arrange(form) {
  const engine = form.querySelector("select[name=engine]");
  const chosen = engine ? engine.value || engine.dataset.usual : "";
  for (const field of form.querySelectorAll("[data-engines]")) {
    const box = field.querySelector("[name]");
    const isSet = box.type === "checkbox" ? box.checked : Boolean(box.value);
    field.hidden = Boolean(chosen) && !field.dataset.engines.split(" ").includes(chosen) && !isSet;
  }
  for (const group of form.querySelectorAll("details.more")) {
    group.hidden = [...group.querySelectorAll(".field")].every((field) => field.hidden);
  }
  const release = form.querySelector("[name=engine-version]");
  if (release) {
    let list = $("releases");
    if (!list) {
      list = document.createElement("datalist");
      list.id = "releases";
      document.body.append(list);
    }
    if (list.dataset.engine !== chosen) list.replaceChildren(...(versions[chosen] ?? []).map((name) => new Option(name, name)));
    list.dataset.engine = chosen;
    release.setAttribute("list", "releases");
  }
  for (const slider of form.querySelectorAll(".slider")) {
    const at = slider.dataset.stops.split(",").indexOf($(slider.dataset.for).value);
    slider.classList.toggle("unset", at < 0);
    if (at >= 0) slider.value = String(at);
  }
}

// form -> address

function collect(form) {
  const pairs = [];
  for (const box of form.querySelectorAll("[name]")) {
    if (box.name === "card" || box.name === "count") {
      if (box.name === "card" && box.value.trim()) {
        const count = form.querySelector("[name=count]").value.trim();
        pairs.push(["gpu", count ? `${box.value.trim()}:${count}` : box.value.trim()]);
      }
    } else if (box.type === "checkbox") {
      if (box.checked) pairs.push([box.name, ""]);
    } else if (box.dataset.kind === "several") {
      for (const word of box.value.split(/[,，\s]+/)) if (word) pairs.push([box.name, word]);
    } else if (box.value.trim()) pairs.push([box.name, box.value.trim()]);
  }
  return pairs;
}

function changed(form, now) {
  arrange(form);
  state = { ...state, pairs: collect(form) };
  if (field === "model" && !files.some(({ name }) => name === value(state.pairs, "model"))) files = [];
  history.replaceState(null, "", write(state));
  if (!busy && (now || !isLong(state.view, write(state)))) {
    answer();
    return;
  }
  // a change is asked as soon as the one before it is answered, and waits no longer than this
  stale = busy;
  clearTimeout(timer);
  timer = setTimeout(answer, WAIT_MS);
}

// asking

function missing(form) {
  const needs = form.dataset.needs.split(" ").filter(Boolean);
  const stands = ["largest-model"].some((name) => state.pairs.some(([each]) => each === name)) || value(state.pairs, "command");
  const lacks = needs.filter((name) => !value(state.pairs, name) && !(name === "model" && stands));
  if (state.view === "plan") return lacks.includes("model") ? said.empty : "";
  if (state.view === "reconcile") return files.length ? "" : said["empty.reconcile"];
  if (!lacks.length) return "";
  return state.view === "cost" ? said["empty.cost"] : said.empty;
}

function say(text, kind = "") {
  // for a screen reader; on a phone it also stands below while the answer is out of sight
  $("status").textContent = text;
  $("status").dataset.kind = kind;
}

new IntersectionObserver(([seen]) => {
  $("status").classList.toggle("far", !seen.isIntersecting && seen.boundingClientRect.top > 0);
}, { rootMargin: "0px 0px -80px 0px" }).observe($("answer"));

function asked(current) {
  return query([...current.pairs, ["lang", root.lang]]);
}

async function answer() {
  const form = formOf(state.view);
  const lack = missing(form);
  latest.abort();
  const mine = new AbortController();
  const current = state;
  const sent = files;
  latest = mine;
  busy = stale = false;
  clearTimeout(timer);
  $("tools").hidden = Boolean(lack);
  if (lack) {
    $("answer").replaceChildren(Object.assign(document.createElement("p"), { className: "empty", textContent: lack }));
    return;
  }
  const slow = setTimeout(() => latest === mine && $("answer").classList.add("working"), WAIT_MS);
  busy = true;
  let found;
  try {
    const reply = await backend.ask(`view/${current.view}`, asked(current), sent, mine.signal);
    found = { ...JSON.parse(reply.text), status: reply.status };
  } catch {
    found = { html: "", status: 0 };
  }
  clearTimeout(slow);
  if (latest !== mine) return;
  busy = false;
  if (found.status !== OK && !stale) await pause(WAIT_MS); // half a word is no mistake while it is being typed
  if (latest !== mine) return;
  if (found.status === OK || !stale) {
    $("answer").classList.remove("working");
    show(found, form);
  }
  if (stale) answer();
  else follow($("answer"), current, sent, mine.signal);
}

// what takes a search follows the answer, unless another question is asked meanwhile

async function follow(box, current, sent, signal) {
  const place = box.querySelector("[data-later]");
  if (!place) return;
  await pause(WAIT_MS);
  if (signal.aborted) return;
  let html = "";
  try {
    const reply = await backend.ask(`later/${current.view}`, asked(current), sent, signal);
    if (reply.status === OK) html = JSON.parse(reply.text).html;
  } catch {
    // the answer itself stands
  }
  if (signal.aborted) return;
  place.innerHTML = html;
  place.removeAttribute("aria-busy");
}

function pause(ms) {
  return new Promise((done) => setTimeout(done, ms));
}

function show(found, form) {
  shown = found;
  if (found.status) $("answer").innerHTML = found.html;
  else $("answer").replaceChildren(Object.assign(document.createElement("p"), { className: "verdict no", textContent: said[root.dataset.backend === "server" ? "error.offline" : "error.engine"] }));
  for (const box of form.querySelectorAll("[aria-invalid]")) box.removeAttribute("aria-invalid");
  if (found.field) {
    const field = form.querySelector(`[data-field="${CSS.escape(found.field)}"] [name], [name="${CSS.escape(found.field)}"]`);
    field?.setAttribute("aria-invalid", "true");
    const group = field?.closest("details.more");
    for (let each = group; each; each = each.parentElement.closest("details")) each.open = true;
  }
  const isAnswer = Boolean(found.command);
  for (const button of $("tools").querySelectorAll("[data-copy=command], [data-copy=python], [data-copy=json], #pin")) button.hidden = !isAnswer;
  $("tools").querySelector("[data-copy=python]").hidden = !found.python;
  const verdict = $("answer").querySelector(".verdict");
  say(verdict?.textContent ?? "", verdict?.classList.item(1));
}

// views and pins

function open() {
  for (const form of forms) form.hidden = form.dataset.command !== state.view;
  for (const link of document.querySelectorAll("nav a")) {
    if (link.dataset.view === state.view) {
      link.setAttribute("aria-current", "page");
      link.scrollIntoView({ block: "nearest", inline: "center" });
    }
    else link.removeAttribute("aria-current");
  }
  if (!state.pairs.length && !files.length) state = { ...state, pairs: FIRST[state.view] ?? carried() };
  $("language").href = `../${root.lang === "en" ? "zh" : "en"}/${write(state)}`;
  fill(formOf(state.view));
  answer();
  pins();
}

let before = [];

function carried() {
  // what one view asked about, the next one asks about too
  const kept = before.filter(([name]) => name === "model" || name === "gpu");
  const form = formOf(state.view);
  return kept.filter(([name]) => form.dataset.needs.split(" ").includes(name));
}

async function pins() {
  $("pinned").hidden = !state.pins.length;
  const box = $("pinned").querySelector(".pins");
  pinned.abort();
  pinned = new AbortController();
  const { signal } = pinned;
  const cards = await Promise.all(state.pins.map(async (pin, index) => {
    const card = document.createElement("article");
    try {
      const reply = await backend.ask(`view/${pin.view}`, asked(pin), [], signal);
      card.innerHTML = JSON.parse(reply.text).html;
      follow(card, pin, [], signal);
    } catch {
      card.textContent = said[root.dataset.backend === "server" ? "error.offline" : "error.engine"];
    }
    const button = Object.assign(document.createElement("button"), { type: "button", textContent: said.unpin });
    button.addEventListener("click", () => {
      state = { ...state, pins: state.pins.filter((_, other) => other !== index) };
      history.replaceState(null, "", write(state));
      pins();
    });
    card.prepend(button);
    return card;
  }));
  if (!signal.aborted) box.replaceChildren(...cards);
}

function pin() {
  const MOST = 3;
  state = { ...state, pins: [...state.pins, { view: state.view, pairs: state.pairs }].slice(0, MOST) };
  history.replaceState(null, "", write(state));
  pins();
}

// clicks

async function copy(button, text) {
  await navigator.clipboard.writeText(text);
  const label = button.textContent;
  button.textContent = said.copied;
  say(said.copied);
  setTimeout(() => { button.textContent = label; }, 1200);
}

async function copyTool(button) {
  const what = button.dataset.copy;
  if (what === "link") return copy(button, location.href);
  if (what === "json") return copy(button, (await backend.ask(state.view, query(state.pairs), files, null)).text);
  return copy(button, shown[what]);
}

function save(button) {
  const content = button.parentElement.querySelector("pre[data-name]").textContent;
  const link = Object.assign(document.createElement("a"), {
    href: URL.createObjectURL(new Blob([content], { type: "text/plain" })),
    download: button.dataset.name,
  });
  link.click();
  URL.revokeObjectURL(link.href);
}

function sort(button) {
  const head = button.closest("th");
  const column = [...head.parentElement.children].indexOf(head);
  const body = head.closest("table").querySelector("tbody");
  const down = head.getAttribute("aria-sort") === "ascending";
  for (const other of head.parentElement.children) other.removeAttribute("aria-sort");
  head.setAttribute("aria-sort", down ? "descending" : "ascending");
  const key = (row) => row.children[column].dataset.sort ?? row.children[column].textContent;
  const order = new Intl.Collator(undefined, { numeric: true });
  const rows = [...body.rows].sort((a, b) => {
    const [x, y] = [key(a), key(b)];
    const known = [x, y].every((each) => each !== "" && !Number.isNaN(Number(each)));
    const rises = known ? Number(x) > Number(y) : order.compare(x, y) > 0;
    const same = known ? Number(x) === Number(y) : order.compare(x, y) === 0;
    if (same) return 0;
    return rises === down ? Number("-1") : 1;
  });
  body.replaceChildren(...rows);
}

function apply(text) {
  const changes = [...new URLSearchParams(text)];
  const names = changes.map(([name]) => name);
  state = { ...state, pairs: [...state.pairs.filter(([name]) => !names.includes(name)), ...changes] };
  history.pushState(null, "", write(state));
  fill(formOf(state.view));
  answer();
}

document.addEventListener("click", (event) => {
  if (event.target.id === "status") $("answer").scrollIntoView();
  const button = event.target.closest("button");
  if (!button) return;
  if (button.dataset.apply !== undefined) apply(button.dataset.apply);
  else if (button.dataset.copy) copyTool(button);
  else if (button.classList.contains("copy")) copy(button, button.parentElement.querySelector("pre").textContent);
  else if (button.classList.contains("save")) save(button);
  else if (button.classList.contains("sort")) sort(button);
  else if (button.id === "pin") pin();
  else if (button.id === "print") print();
  else if (button.id === "log-read") readText();
});

// files: read here, and kept nowhere

const HEADS = { gguf: 16777216, safetensors: 2097152 };
const MODELS = [".index.json", ".gguf", ".safetensors", ".json"];

async function readFiles(chosen, where) {
  field = where;
  files = await Promise.all([...chosen].map(async (each) => {
    const name = each.name.replace(/[^A-Za-z0-9._-]/g, "-").replace(/^[.-]+/, "") || "file";
    const head = each.slice(0, HEADS[name.split(".").at(-1)] ?? each.size);
    return { name, content: await head.arrayBuffer(), size: each.size };
  }));
  if (field !== "model") {
    document.querySelector(".choose").textContent = files.map(({ name }) => name).join(", ");
    return answer();
  }
  const names = files.map(({ name }) => name).sort();
  const end = MODELS.find((suffix) => names.some((name) => name.endsWith(suffix)));
  formOf(state.view).querySelector("[name=model]").value = names.find((name) => name.endsWith(end)) ?? names[0];
  changed(formOf(state.view), true);
}

function readText() {
  const text = $("log-text").value;
  const content = new TextEncoder().encode(text).buffer;
  field = "log";
  files = text.trim() ? [{ name: "pasted.log", content, size: content.byteLength }] : [];
  answer();
}

for (const box of document.querySelectorAll("input[type=file]")) {
  box.addEventListener("change", () => box.files.length && readFiles(box.files, box.dataset.file));
}

function go(view) {
  state = { ...state, view, pairs: [] };
  history.pushState(null, "", write(state));
  open();
}

document.addEventListener("dragover", (event) => event.preventDefault());
document.addEventListener("drop", (event) => {
  event.preventDefault();
  const dropped = [...event.dataTransfer.files];
  if (!dropped.length) return;
  const isModel = state.view !== "reconcile" && dropped.every(({ name }) => MODELS.some((suffix) => name.endsWith(suffix)));
  if (!isModel && state.view !== "reconcile") go("reconcile");
  if (isModel && !formOf(state.view).querySelector("[data-file=model]")) go("infer");
  readFiles(isModel ? dropped : dropped.slice(0, 1), isModel ? "model" : "log");
});

for (const form of forms) {
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    changed(form, true);
  });
  form.addEventListener("input", (event) => {
    const box = event.target;
    if (box.type === "file" || box.id === "log-text") return;
    if (box.classList.contains("slider")) $(box.dataset.for).value = box.dataset.stops.split(",")[box.valueAsNumber];
    changed(form, false);
  });
}

window.addEventListener("hashchange", () => {
  if (location.hash === "#answer") return;
  if (state.pairs.length) before = state.pairs;
  const next = read(location.hash, views);
  if (next.view !== state.view) files = [];
  state = { ...next, pins: next.pins.length ? next.pins : state.pins };
  open();
});

$("answer").replaceChildren(Object.assign(document.createElement("p"), { className: "empty", textContent: root.dataset.backend === "server" ? said.working : said.starting }));
await backend.start();
open();
root.scrollIntoView({ block: "nearest" }); // Tab goes on from what was shown last: here the top
root.dataset.ready = "yes";
