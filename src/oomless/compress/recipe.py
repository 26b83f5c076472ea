"""Recipes: the mix of formats that oomless has planned, as files that other tools run. AWQ, AutoRound and
rotations are theirs; what a run of theirs needs is said where it was measured."""

import json
import shlex
from fnmatch import fnmatchcase
from math import prod
from pprint import pformat
from typing import Any, NamedTuple

from .. import facts
from ..errors import UnsupportedError, UsageError, did_you_mean
from ..model.gguf_model import StoredTensor, file_tensors
from ..model.gguf_types import TYPES, file_type
from ..model.load import load_path
from ..units import mb
from .checkpoint.finish import compressed_tensors, kept_matrices
from .checkpoint.source import read_source
from .codecs.codec import Codec
from .codecs.integers import Integers
from .codecs.microscaled import Nvfp4
from .weights import CompressRequest, Planned, plan

TOOLS = ("llmcompressor", "gptqmodel", "autoround", "modelopt", "llama-quantize")
SEARCHED = ("gptq", "diagonal")
TEXTS = "texts.json"


class RecipeNeeds(NamedTuple):
    """What a tool's run takes, by a run of it that was measured with nearest rounding."""

    host_bytes: int
    cpu_s: float
    source: str


class ToolRecipe(NamedTuple):
    """Files by name, and what their run needs; None where nobody measured it."""

    tool: str
    files: dict[str, str]
    needs: RecipeNeeds | None

    def to_json(self) -> dict[str, Any]:
        """Return the object that `--json` prints."""
        needs = self.needs._asdict() if self.needs else None
        return {"schema": "oomless/recipe/1", "tool": self.tool, "files": self.files, "needs": needs}


def recipe(request: CompressRequest, tool: str) -> ToolRecipe:
    """Return what a tool needs to make the same mix of formats, with its own choice of codes."""
    if tool not in TOOLS:
        raise UsageError(f"--recipe {tool[:40]}", did_you_mean(tool, TOOLS))
    if tool == "llama-quantize":
        files, num_bytes, largest = quantize_files(request)
        return ToolRecipe(tool, files, needs_of(tool, request.to.lower(), num_bytes, {"tensor": largest}))
    planned = plan(request)
    files = SCRIPTS[tool](planned)
    sizes = [0] * len(planned.source.files)
    for each in planned.source.tensors.values():
        sizes[each.file] += each.stored.num_bytes
    word = request.to.lower().partition("-")[0]
    return ToolRecipe(tool, files, needs_of(tool, word, planned.source.num_bytes, {"shard": max(sizes)}))


def needs_of(tool: str, word: str, num_bytes: int, largest: dict[str, int]) -> RecipeNeeds | None:
    """Return memory and time of a run, from the row of its tool and format; None without one."""
    for row in facts.table("recipe_runs"):
        if (row["tool"], row["format"]) == (tool, word):
            held = int(largest[row["memory_of"]] * float(row["memory_factor"]))
            return RecipeNeeds(held, mb(num_bytes) / float(row["mb_per_cpu_s"]), row["source"])
    return None


def for_llmcompressor(planned: Planned) -> dict[str, str]:
    """Return its recipe and a script: the groups are those of the config that we would write."""
    import yaml  # type: ignore[import-untyped,unused-ignore]

    codecs = sorted(changed(planned).values(), key=lambda codec: codec.name)
    unique = list(dict.fromkeys(codecs))
    if any(codec.container != "compressed-tensors" for codec in unique):
        raise UnsupportedError(
            f"--to {planned.request.to}: no format of compressed-tensors",
            "int8, int4, fp8-block, nvfp4, mxfp4",
        )
    section = compressed_tensors(planned.target, unique)
    modifier = "GPTQModifier" if planned.request.calibrate in SEARCHED else "QuantizationModifier"
    body = {"config_groups": section["config_groups"], "ignore": section["ignore"]}
    document = {"quant_stage": {"quant_modifiers": {modifier: body}}}
    script = f"""from llmcompressor import oneshot

oneshot(
    model={planned.request.source!r},
    recipe="recipe.yaml",
    output_dir="compressed",
    dataset="open_platypus",  # your own texts are better
    num_calibration_samples=512,
    max_seq_length=2048,
)
"""
    return {"recipe.yaml": yaml.safe_dump(document, sort_keys=False), "run.py": script}


def for_gptqmodel(planned: Planned) -> dict[str, str]:
    """Return a script for GPTQModel: modules that stay and those of other bits by pattern."""
    usual, others = integers_of(planned, "gptqmodel")
    dynamic: dict[str, Any] = {f"-:^{escaped(name)}$": {} for name in kept(planned)}
    dynamic |= {
        f"+:^{escaped(name)}$": {"bits": codec.bits, "group_size": codec.group or -1, "sym": not codec.zeros}
        for name, codec in others.items()
    }
    script = f"""import json
from pathlib import Path

from gptqmodel import GPTQModel, QuantizeConfig

config = QuantizeConfig(
    bits={usual.bits},
    group_size={usual.group or -1},
    sym={not usual.zeros},
    dynamic={pformat(dynamic, width=100, sort_dicts=False)},
)
model = GPTQModel.load({planned.request.source!r}, config)
model.quantize(json.loads(Path("{TEXTS}").read_text()))
model.save("compressed")
"""
    return {"run.py": script, TEXTS: texts()}


def for_autoround(planned: Planned) -> dict[str, str]:
    """Return a script for AutoRound, which writes compressed-tensors' format."""
    usual, others = integers_of(planned, "autoround")
    layers: dict[str, Any] = {name: {"bits": 16} for name in kept(planned)}
    layers |= {name: scheme_of(codec) for name, codec in others.items()}
    script = f"""from auto_round import AutoRound

layers = {pformat(layers, width=100, sort_dicts=False)}
rounding = AutoRound({planned.request.source!r}, scheme={scheme_of(usual)!r}, layer_config=layers)
rounding.quantize_and_save("compressed", format="auto_round")
"""
    return {"run.py": script}


def for_modelopt(planned: Planned) -> dict[str, str]:
    """Return a script for NVIDIA's Model Optimizer: entries in order, the last one that matches counts."""
    entries: list[dict[str, Any]] = [{"quantizer_name": "*", "enable": False}]
    found = changed(planned)
    usual = most(list(found.values()))
    entries.append({"quantizer_name": "*weight_quantizer", "cfg": numerics(usual)})
    entries += [
        {"quantizer_name": f"*{name}.weight_quantizer", "cfg": numerics(codec)}
        for name, codec in found.items()
        if codec != usual
    ]
    entries += [{"quantizer_name": f"*{name}.*", "enable": False} for name in kept(planned)]
    algorithm = "awq_lite" if planned.request.calibrate in SEARCHED else "max"
    config = {"quant_cfg": entries, "algorithm": algorithm}
    script = f"""import json
from pathlib import Path

import modelopt.torch.quantization as mtq
from modelopt.torch.export import export_hf_checkpoint
from transformers import AutoModelForCausalLM, AutoTokenizer

source = {planned.request.source!r}
model = AutoModelForCausalLM.from_pretrained(source, dtype="auto", device_map="auto")
tokenizer = AutoTokenizer.from_pretrained(source)


def forward(model):
    for text in json.loads(Path("{TEXTS}").read_text()):
        model(**tokenizer(text, return_tensors="pt").to(model.device))


config = {pformat(config, width=100, sort_dicts=False)}
export_hf_checkpoint(mtq.quantize(model, config, forward), export_dir="compressed")
"""
    return {"run.py": script, TEXTS: texts()}


SCRIPTS = {
    "llmcompressor": for_llmcompressor,
    "gptqmodel": for_gptqmodel,
    "autoround": for_autoround,
    "modelopt": for_modelopt,
}


def changed(planned: Planned) -> dict[str, Codec]:
    """Return the modules that are stored anew, with how."""
    return {
        each.name: each.codec for each in planned.target.weights if each.codec is not None and not each.why
    }


def kept(planned: Planned) -> list[str]:
    """Return the matrices that stay."""
    return sorted(kept_matrices(planned.target))


def most(codecs: list[Codec]) -> Codec:
    """Return the codec that most modules have."""
    if not codecs:
        raise UsageError("nothing is compressed by this request", "--keep names all of it")
    return max(dict.fromkeys(codecs), key=codecs.count)


def integers_of(planned: Planned, tool: str) -> tuple[Integers, dict[str, Integers]]:
    """Return the integers that most modules have, and those of the others by name."""
    found = {}
    for name, codec in changed(planned).items():
        if not isinstance(codec, Integers):
            raise UnsupportedError(
                f"{tool} makes integers, not {codec.name}", "--to int4, int8-g128, int4-asym"
            )
        found[name] = codec
    usual = most(list(found.values()))
    assert isinstance(usual, Integers)
    return usual, {name: codec for name, codec in found.items() if codec != usual}


def scheme_of(codec: Integers) -> dict[str, Any]:
    """Return AutoRound's words for integers."""
    return {"bits": codec.bits, "group_size": codec.group or -1, "sym": not codec.zeros, "data_type": "int"}


def numerics(codec: Codec) -> dict[str, Any]:
    """Return Model Optimizer's words for a format."""
    match codec:
        case Integers(8, 0):
            return {"num_bits": 8, "axis": 0}
        case Integers(bits, group, False):
            return {"num_bits": bits, "block_sizes": {-1: group}}
        case Nvfp4():
            return {"num_bits": (2, 1), "block_sizes": {-1: 16, "type": "static", "scale_bits": (4, 3)}}
    raise UnsupportedError(
        f"modelopt's recipe of {codec.name} is not written here", "--to int4, int8 or nvfp4"
    )


def escaped(name: str) -> str:
    """Return a name as a pattern that means it alone."""
    return name.replace(".", r"\.")


def texts() -> str:
    """Return texts to calibrate on: the paragraphs of our own sample, to be replaced by the user's."""
    from .calibration.sample import sample

    return (
        json.dumps([part for part in sample().split("\n\n") if part.strip()], ensure_ascii=False, indent=1)
        + "\n"
    )


BACKSLASH_DOT = r"\."


def quantize_files(request: CompressRequest) -> tuple[dict[str, str], int, int]:
    """Return (the script, bytes of its input, bytes of its largest tensor in F32)."""
    if request.skip:
        raise UsageError("--skip takes no llama-quantize", "a GGUF file has all tensors")
    source = read_source(request.source)
    mix = file_type(request.to)[0]
    pieces = [piece for piece, _ in file_tensors(load_path(source.folder), mix)]
    options = []
    for pattern, form in [*((pattern, "bf16") for pattern in request.keep), *request.formats]:
        if form.upper() not in TYPES:
            raise UsageError(f"{pattern}={form}: no type of GGUF tensors", "q8_0, q6_k, bf16 ...")
        for name in meant(pattern, pieces):
            options += ["--tensor-type", f"^{name.replace('.', BACKSLASH_DOT)}$={form.lower()}"]
    name = source.folder.resolve().name
    given, made = f"bf16/{name}-BF16.gguf", f"{name}-{mix}.gguf"
    lines = [
        "set -eu",
        shlex.join(["oomless", "compress", request.source, "--to", "gguf-bf16", "--out", "bf16"]),
        shlex.join(["llama-quantize", *options, given, made, mix]),
    ]
    sizes = [prod(piece.shape) for piece in pieces]
    return {"run.sh": "\n".join(lines) + "\n"}, 2 * sum(sizes), 4 * max(sizes)


def meant(pattern: str, pieces: list[StoredTensor]) -> list[str]:
    """Return the tensors that a pattern means, by llama.cpp's names or by the checkpoint's."""
    found = [
        piece.name
        for piece in pieces
        if any(
            fnmatchcase(name.removesuffix(".weight"), pattern)
            for name in (piece.name, piece.group.name.format(piece.layer))
        )
    ]
    if not found:
        raise UsageError(f"{pattern[:80]!r} names no tensor", "patterns are globs: '*.ffn_down', 'blk.0.*'")
    return found
