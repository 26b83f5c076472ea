// Questions go to the server that gave this page.

import { withFiles } from "./state.js";

export async function start() {}

export async function ask(command, query, files, signal) {
  const path = command.includes("/") ? command : `api/${command}`;
  const address = new URL(`../${path}?${withFiles(query, files)}`, document.baseURI);
  const sent = files.length ? { method: "POST", body: new Blob(files.map((file) => file.content)) } : { method: "GET" };
  const answer = await fetch(address, { ...sent, signal });
  return { status: answer.status, text: await answer.text() };
}
