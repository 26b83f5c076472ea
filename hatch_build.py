"""The wheel: modules without comments, without the notes on their constants, which Python drops too, without
what explains a module, or functions and records outside of the rooms with formulas, to those who mend them,
and without the examples of docstrings, which are tests; pages in one file, without tables of options and the
long part of what their commands print, rules without the sources that only readers of the tables need, and
all packed again as small as deflate makes it (the builder itself takes zlib's middle level)."""

import ast
import csv
import io
import json
import os
import re
import tokenize
import zipfile
from doctest import DocTestParser
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from deflate import deflate_compress
from hatchling.builders.hooks.plugin.interface import BuildHookInterface

HIGHEST = 12
"""libdeflate's last level: 2 % smaller than zlib's."""


FOR_DEVELOPERS = ("accuracy.md", "architecture.md", "benchmarks.md", "compared.md", "index.md")
"""Pages that stay on the site, its front among them."""
PRINTED = re.compile(r"(?<=^```text\n)(.*?)(?=^```$)", re.DOTALL | re.MULTILINE)
REMARK = re.compile(r"<!--.*?-->\n?", re.DOTALL)
"""What tests read of a page."""
SHOWN_LINES = 1
"""Of what a command prints, the command first: whoever has the wheel can run it."""


OPTIONS = re.compile(r"(?:^\| `-.*\n){3,}", re.MULTILINE)
LISTED = "| ... | `--help` lists them |\n"
"""Rows of a table of options, and what stands for them: tools and commands describe theirs."""


def cut(block: re.Match[str]) -> str:
    """Return the first lines of a block."""
    lines = block[0].splitlines()
    return "\n".join([*lines[:SHOWN_LINES], "..."][: len(lines)]) + "\n"


UNSOURCED = (
    "accepted_lengths",
    "adapters",
    "attention_kernels",
    "bands",
    "cluster_names",
    "compressed",
    "counted_traffic",
    "draft_heads",
    "efficiencies",
    "engine_pairs",
    "engine_rules",
    "engine_flags",
    "expert_kernels",
    "frameworks",
    "fused_modules",
    "gguf_builds",
    "gguf_dynamic",
    "gguf_families",
    "gguf_mixes",
    "gguf_own_mixes",
    "gguf_pretokenizers",
    "gguf_vocabularies",
    "gpu_shares",
    "habits",
    "kernel_curves",
    "kept_by_makers",
    "kernel_releases",
    "kernels",
    "launch_losses",
    "launch_optimizers",
    "llamacpp_builds",
    "losses",
    "measured",
    "measured_frameworks",
    "measured_quantities",
    "ollama_tags",
    "optimizer_classes",
    "optimizer_words",
    "other_frameworks",
    "precision_words",
    "releases",
    "silicon",
    "speed_recipes",
    "stored_copies",
    "torchtitan_flavors",
    "torchtune_configs",
    "training_keys",
    "watched",
)
"""Tables whose sources no command shows: they are for those who mend them."""
FOR_TESTS = {
    "catalogue": "parameters_hub note",
    "efficiencies": "prior prior_source",
    "gguf_mixes": "published_gib",
    "hardware": "int4_tops launch_year mamf_bf16_measured native_fp4 price_date price_source price_usd "
    "source sparsity_2_4 tensor_core_gen tf32_tflops unverified_fields",
    "kernel_curves": "median_error num_fitted num_held_out p90_error",
    "traced": "made_with",
}
"""Columns that only tests and those who mend a table read."""


def without(path: Path, columns: str) -> str:
    """Return a table without what stands in some columns."""
    made = io.StringIO()
    with path.open(encoding="utf-8", newline="") as file:
        table = csv.DictReader(file)
        writer = csv.DictWriter(made, list(table.fieldnames or ()), lineterminator="\n")
        writer.writeheader()
        writer.writerows({**row, **dict.fromkeys(columns.split(), "")} for row in table)
    return made.getvalue()


def names_shown(package: Path) -> set[str]:
    """Return the names by which users reach functions and classes: those of the fronts, and what the stub of
    the package gives on."""
    names: set[str] = set()
    for front in (package / "__init__.pyi", *package.rglob("__init__.py")):
        for statement in ast.parse(front.read_text(encoding="utf-8")).body:
            match statement:
                case ast.Assign(targets=[ast.Name("__all__")], value=value):
                    names |= {*ast.literal_eval(value)}
                case ast.ImportFrom(names=given):
                    names |= {each.name for each in given if each.asname == each.name}
    return names


def is_shown(node: ast.AST, shown: set[str]) -> bool:
    """Return whether help shows a statement of a module: it has a name of the fronts, or is a command or a
    fixture."""
    match node:
        case ast.FunctionDef(name=name, decorator_list=marks) | ast.ClassDef(name=name, decorator_list=marks):
            return name in shown or any(ast.unparse(mark).startswith(("click.", "pytest.")) for mark in marks)
    return False


WITH_FORMULAS = ("engines", "estimate", "frameworks", "model", "recording", "run", "speed")
"""Rooms that the source of a line names, or that what it names is made of: their functions keep formula,
units and source."""
OF_WORDS = re.compile(
    r"(?:^|_)(?:args|argument|command|configuration|entries|hub|logs?|manifests?|names|record|shell|words)(?:_|$)"
)
"""Their modules that read words, or list what an engine is: no line comes from them."""


def has_formulas(module: Path) -> bool:
    """Return whether lines come from a module, by its place in the package."""
    return module.parts[0] in WITH_FORMULAS and not OF_WORDS.search(module.stem)


def for_readers(module: str, shown: set[str] | None) -> str:
    """Return a module without its comments, the words on itself, on its constants, on private functions, on
    functions and records that have none of the names `shown` (None: all are), and without the doctests of
    its docstrings: no line moves. A front of the package keeps the words on itself, and a record that is
    shown what stands beside its fields: editors show both."""
    lines = module.splitlines()
    for token in tokenize.generate_tokens(io.StringIO(module).readline):
        if token.type == tokenize.COMMENT:
            line, column = token.start
            lines[line - 1] = lines[line - 1][:column].rstrip()
    tree = ast.parse(module)
    front = [each for each in tree.body if isinstance(each, ast.Assign) and "__all__" in ast.unparse(each)]
    for note in tree.body[1:] if front else tree.body:
        match note:
            case ast.Expr(value=ast.Constant(value=str()), lineno=first, end_lineno=int(last)):
                lines[first - 1 : last] = [""] * (last - first + 1)
    kept = {
        id(inner) for each in tree.body if shown is None or is_shown(each, shown) for inner in ast.walk(each)
    }
    for node in ast.walk(tree):
        match node:
            case ast.FunctionDef(
                name=name, body=[ast.Expr(value=ast.Constant(value=str())) as note, _, *_]
            ) if id(node) not in kept or (name.startswith("_") and not name.endswith("__")):
                notes = [note]
            case ast.ClassDef(body=[_, _, *_] as body) if id(node) not in kept:
                notes = [each for each in body if isinstance(each, ast.Expr)]
            case _:
                notes = []
        for note in notes:
            lines[note.lineno - 1 : note.end_lineno] = [""] * ((note.end_lineno or 0) - note.lineno + 1)
        match node:
            case ast.Expr(value=ast.Constant(value=str(text)), lineno=first) if ">>>" in text:
                for example in DocTestParser().get_examples(text):
                    length = (example.source + example.want).count("\n")
                    start = first - 1 + example.lineno
                    lines[start : start + length] = [""] * length
    return "\n".join([*lines, ""])


class Whole:
    """A compressor as zipfile calls one, which waits for all of a file."""

    def __init__(self) -> None:
        self.content = b""

    def compress(self, content: bytes) -> bytes:
        self.content += content
        return b""

    def flush(self) -> bytes:
        return bytes(deflate_compress(self.content, HIGHEST))


class SmallWheel(BuildHookInterface[Any]):
    """Names, dates and contents stay, so the hashes of RECORD do, and the same tree is the same file."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        self.made = TemporaryDirectory()
        if self.target_name != "wheel" or version == "editable":
            return
        facts = Path(self.root, "src/oomless/facts")
        columns = FOR_TESTS | {name: f"source {FOR_TESTS.get(name, '')}" for name in UNSOURCED}
        contents = {
            f"oomless/facts/{name}.csv": without(facts / f"{name}.csv", columns[name]) for name in columns
        }
        package = Path(self.root, "src/oomless")
        shown = names_shown(package)
        contents |= {
            str(Path("oomless", module.relative_to(package))): for_readers(
                module.read_text(encoding="utf-8"),
                None if has_formulas(module.relative_to(package)) else shown,
            )
            for module in sorted(package.rglob("*.py"))
        }
        pages = {
            page.stem: OPTIONS.sub(LISTED, PRINTED.sub(cut, REMARK.sub("", page.read_text(encoding="utf-8"))))
            for page in sorted(Path(self.root, "docs", "en").glob("*.md"))
            if page.name not in FOR_DEVELOPERS
        }
        contents["oomless/docs/pages.json"] = json.dumps(pages, ensure_ascii=False)
        for place, text in contents.items():
            made = Path(self.made.name, place.replace("/", "-"))
            made.write_text(text, encoding="utf-8")
            build_data["force_include"][str(made)] = place

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        self.made.cleanup()
        if self.target_name != "wheel" or not zipfile.is_zipfile(artifact_path):
            return
        packed = Path(f"{artifact_path}.packed")
        with zipfile.ZipFile(artifact_path) as before, zipfile.ZipFile(packed, "w") as after:
            for entry in before.infolist():
                content = before.read(entry)
                entry.compress_type = zipfile.ZIP_DEFLATED
                with after.open(entry, "w") as file:
                    file._compressor = Whole()  # type: ignore[attr-defined] # zipfile has no public way
                    file.write(content)
        os.replace(packed, artifact_path)
