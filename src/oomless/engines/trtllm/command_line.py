"""TensorRT-LLM's words in ours, and those that build engines: build.py of a family to 0.7, trtllm-build."""

from typing import Any

from ...errors import UnsupportedError
from ...model.attention import GQA
from ...model.model import Model
from ...model.storage import DTYPES
from ...run.serving import Resolved
from ..command_words import CommandWords
from ..sglang.command_line import as_sglang

SCORES = "attention by scores"
"""Of an engine whose attention plugin keeps scores of prompts: without context FMHA."""
OF_LLAMA = {"--max_input_len": 2048, "--max_output_len": 512}
LLAMA_BATCH, F32 = 8, 4
"""examples/llama/build.py of 0.5 to 0.7, where nobody says more."""
OF_PROMPTS = ("--gather_context_logits", "--gather_all_token_logits")
"""Flags of engine builds that keep logits of prompts: the vocabulary for each token (TensorRT-LLM#3636)."""


def in_our_words(said: CommandWords) -> CommandWords:
    """Return a command of TensorRT-LLM in our words; what it keeps of whole prompts is refused."""
    if each := next((each for each in said.unknown if each.startswith(OF_PROMPTS)), None):
        raise UnsupportedError(f"{each}: logits of whole prompts are not computed", "leave it out", "command")
    unknown = [*said.unknown]
    flags, remark = with_shapes(said.before[-1] if said.before else "", said.flags, unknown, said.ignored)
    if "speculation" in flags:  # MTP, Eagle3, NGram
        flags = as_sglang({**flags, "speculation": flags["speculation"].lower()})
    return said._replace(flags=flags, unknown=unknown, remark=remark)


def with_shapes(
    program: str, flags: dict[str, Any], unknown: list[str], ignored: list[str]
) -> tuple[dict[str, Any], str]:
    """Return (flags, remark) with the shapes that a build's lengths make: a sequence is as long as input and
    output together, and inputs of a whole batch are read at once. What is read leaves `unknown`.

    >>> with_shapes("examples/llama/build.py", {}, ["--max_input_len 1024"], [])[0]
    {'max_num_batched_tokens': 8192, 'max_model_len': 1536, 'max_num_seqs': 8}
    >>> with_shapes("trtllm-build", {}, [], ["--context_fmha disable"])
    ({}, 'attention by scores')
    """
    by_script = program.endswith("build.py")
    said: dict[str, int] = dict(OF_LLAMA) if program.endswith("llama/build.py") else {}
    for shown in [each for each in unknown if each.split(" ")[0] in OF_LLAMA]:
        name, _, value = shown.partition(" ")
        if value.isdecimal() and len(value) < 10:
            said[name] = int(value)
            unknown.remove(shown)
    if said and by_script:
        flags = {"max_num_seqs": LLAMA_BATCH, **flags}
    if len(said) == len(OF_LLAMA):
        flags = {"max_model_len": sum(said.values()), **flags}
    if "--max_input_len" in said and "max_num_seqs" in flags:
        tokens = int(flags["max_num_seqs"]) * said["--max_input_len"]
        flags = {"max_num_batched_tokens": tokens, **flags}
    fuses = any(shown.startswith("--enable_context_fmha") for shown in (*unknown, *ignored))
    plain = (by_script and not fuses) or "--context_fmha disable" in ignored
    return flags, SCORES if plain else ""


def scores_bytes(model: Model, asked: Resolved) -> int:
    """Return the bytes of the attention plugin's workspace for a whole batch of its longest inputs: scores in
    16 and in 32 bit of every head, a mask, and queries, keys, values and output apart
    (gptAttentionCommon.cpp, getWorkspaceSizeForContext). A build of llama-2-7b for 64 x 2,048 tokens wanted
    56.4 GB (TensorRT-LLM#352):

    >>> from ...model.load import load
    >>> from ...run.serving import Layout
    >>> asked = Resolved(max_num_seqs=64, max_num_batched_tokens=131072, dtype="float16", layout=Layout())
    >>> round(scores_bytes(load("llama-2-7b"), asked) / 1e9, 1)
    56.4
    """
    sequences, tokens = asked.max_num_seqs or 1, asked.max_num_batched_tokens or 0
    pairs, width, found = tokens * tokens // sequences, DTYPES[asked.dtype].bits // 8, 0
    for each in model.kinds.attentions:
        heads = each.core
        if isinstance(heads, GQA):
            own, shared = (-(-num // asked.layout.tp) for num in (heads.num_heads, heads.num_kv_heads))
            rows = 2 * tokens * width * (own + shared) * heads.head_dim
            found = max(found, pairs * (own * (width + F32) + width) + rows)
    return found
