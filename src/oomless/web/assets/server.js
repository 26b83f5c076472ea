// Questions go to the server that gave this page.

import { withFiles } from "./state.js";

export async function start() {}

export async function ask(command, query, files) {
  const [kind, name] = command.startsWith("view/") ? ["view", command.slice("view/".length)] : ["api", command];
  const address = new URL(`../${kind}/${name}?${withFiles(query, files)}`, document.baseURI);
  const answer = await fetch(address, files.length ? { method: "POST", body: new Blob(files.map((file) => file.content)) } : { method: "GET" });
  return { status: answer.status, text: await answer.text() };
}
