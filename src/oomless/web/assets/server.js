// Questions go to the server that gave this page.

export async function start() {}

export async function ask(command, query, file) {
  const [kind, name] = command.startsWith("view/") ? ["view", command.slice("view/".length)] : ["api", command];
  const address = new URL(`../${kind}/${name}?${query}`, document.baseURI);
  if (file) address.searchParams.append("file", file.name);
  const answer = await fetch(address, file ? { method: "POST", body: file.content } : { method: "GET" });
  return { status: answer.status, text: await answer.text() };
}
