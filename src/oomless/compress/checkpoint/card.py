"""The card of a compressed model: what it was made of, how, and what loads it."""

from collections import Counter

from ... import __version__
from ..codecs.plain import Plain
from .source import Checkpoint
from .target import Target, TargetWeight

LOADED_BY = {
    "compressed-tensors": "vLLM, SGLang and transformers with compressed-tensors load it.",
    "deepseek": "vLLM, SGLang and transformers load it as they load DeepSeek's own FP8 checkpoints.",
    "bitsandbytes": "transformers with bitsandbytes loads it.",
    "plain": "Everything that loads safetensors loads it.",
    "gguf": "llama.cpp and what is built on it load it.",
}

LIBRARIES = {"safetensors": "library_name: transformers", "gguf": "library_name: gguf"}
"""The line of the front matter by which hubs offer a program that loads it."""


def format_name(weight: TargetWeight) -> str:
    """Return the word for how a weight is stored in the result."""
    codec = weight.codec or weight.source.codec
    return codec.name if codec else weight.pieces[0].dtype.lower()


def card(source: Checkpoint, target: Target, command: str, method: str) -> str:
    """Return the card as Markdown with the front matter that hubs read; `method` says how codes were
    chosen."""
    sizes: Counter[str] = Counter()
    counts: Counter[str] = Counter()
    for weight in target.weights:
        sizes[format_name(weight)] += weight.num_bytes
        counts[format_name(weight)] += 1
    name = source.folder.resolve().name
    containers = {
        weight.codec.container
        for weight in target.weights
        if weight.codec is not None and not isinstance(weight.codec, Plain)
    } or {"plain"}
    rows = [f"| {form} | {counts[form]:,} | {size:,} |" for form, size in sizes.most_common()]
    kept = Counter(weight.why for weight in target.weights if weight.why)
    lines = [
        "---",
        LIBRARIES[target.kind],
        "tags:",
        "- oomless",
        "---",
        "",
        f"# {plain_text(name)}, compressed",
        "",
        f"Made by oomless {__version__} from `{plain_text(name)}`:",
        "",
        "```sh",
        plain_text(command),
        "```",
        "",
        f"Tensor data: {source.num_bytes:,} bytes before, {target.num_bytes:,} after. {method}",
        "",
        "| format | weights | bytes |",
        "|---|---|---|",
        *rows,
        "",
        *(f"- stays as it is: {num:,} x {plain_text(why)}" for why, num in kept.most_common()),
        "",
        *(LOADED_BY[container] for container in sorted(containers)),
        "",
    ]
    return "\n".join(lines)


def plain_text(text: str) -> str:
    """Return text from outside as one line that is no Markdown of its own."""
    return "".join(char if char.isprintable() and char not in "`|<>" else " " for char in text)[:500]
