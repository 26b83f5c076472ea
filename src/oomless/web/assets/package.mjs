// Puts the site's Python files where the engine finds them, and gives the function that answers.

const INSTALL = `
import marshal, os, sys, zlib
files = marshal.loads(zlib.decompress(content.to_py(), 31))
for folder in sorted({name.rpartition("/")[0] for name in files}):
    os.makedirs(f"/site/{folder}", exist_ok=True)
for name, text in files.items():
    with open(f"/site/{name}", "wb", 0) as file:
        file.write(text)
del content, files
sys.path.insert(0, "/site")
`;

export function install(engine, content) {
  engine.globals.set("content", new Uint8Array(content));
  engine.runPython(INSTALL);
  return engine.runPython("from oomless.web.in_browser import answer; answer");
}
