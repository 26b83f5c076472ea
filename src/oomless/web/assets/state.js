// What the address says, and back: #infer?model=deepseek-r1&gpu=h200:8, then what is pinned beside it behind bars.

export function read(hash, views) {
  const [first, ...pins] = decodeBars(hash.replace(/^#/, ""));
  const state = one(first);
  return { ...state, view: views.includes(state.view) ? state.view : views[0], pins: pins.filter(Boolean).map(one) };
}

function decodeBars(text) {
  return text.split("|");
}

function one(text) {
  const at = text.indexOf("?");
  const view = at < 0 ? text : text.slice(0, at);
  const query = at < 0 ? "" : text.slice(text.indexOf("?")).replace(/^\?/, "");
  return { view, pairs: [...new URLSearchParams(query)] };
}

export function query(pairs) {
  // short and readable: what an address may hold as it is stays as it is
  return new URLSearchParams(pairs).toString().replaceAll("%3A", ":").replaceAll("%2F", "/").replaceAll("%2C", ",").replace(/=(?=&|$)/g, "=");
}

export function withFiles(text, files) {
  // what the body holds: each file's name, its bytes there, and those of the whole file
  const said = files.flatMap(({ name, content, size }) => [["file", name], ["bytes", content.byteLength], ["whole", size]]);
  return files.length ? `${text}&${new URLSearchParams(said)}` : text;
}

export function write(state) {
  const text = ({ view, pairs }) => (pairs.length ? `${view}?${query(pairs)}` : view);
  return `#${[state, ...state.pins].map(text).join("|")}`;
}

export function value(pairs, ...names) {
  const found = pairs.find(([name]) => names.includes(name));
  return found ? found[1] : "";
}

const LONG = ["plan", "tune", "guide", "reconcile", "claims", "models"];

export function isLong(view, text) {
  // what takes long: it is asked in a lane of its own, and not at each letter
  return LONG.includes(view) || /[?&](arrival-rate|workload)=/.test(text);
}
