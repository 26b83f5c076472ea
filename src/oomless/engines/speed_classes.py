"""Classes of engines by speed: what the model of speed/ asks of one, and how measured rows of speed name it.

An engine's record says its class (`speed_class`); derived engines share their parent's.
"""

import re
from collections.abc import Callable
from typing import Literal, NamedTuple

Words = frozenset[str]
"""Conditions of rows of facts/efficiencies.csv and kernels.csv."""


def never(release: str, sparse: bool) -> Words:
    """Return no condition."""
    return frozenset()


def one_family(family: str, kind: str, conditions: Words) -> str:
    """Return no family of kernels: an engine's experts have one on a card."""
    return ""


class SpeedClass(NamedTuple):
    """One class, under the name that the tables of speed have in their column `engine`."""

    name: str
    spelled: str = ""
    """The pattern of its names in tables of measured speed, in small letters; "": none is known."""
    conditions: Callable[[str, bool], Words] = never
    """(release, whether routed experts run on an NVIDIA card) -> conditions that hold."""
    row_conditions: Callable[[str, str, bool], Words] = lambda word, date, sparse: frozenset()
    """(the table's word, date, the same) -> conditions that hold."""
    expert_kernels: Callable[[str, str, Words], str] = one_family
    """(type of model, type of weights, conditions) -> family of kernels of routed experts, as
    facts/kernel_curves.csv calls it where an engine has several on a card."""
    reduces_in_switch: bool = True
    """NCCL may add up in the switch."""
    multiplies_vectors: bool = False
    """Small batches are multiplied by vector units, which unpack quantised values as they are read."""
    multiplies_integers: bool = False
    """Large batches of quantised values are multiplied as integers."""
    tile: Callable[[Words, float, int], int] = lambda conditions, tokens, experts: 1
    """(conditions, tokens, experts) -> rows that the products of an expert are filled up to on a card."""
    overlaps_stages: bool = True
    """Stages of a pipeline work on several batches at once."""
    mixes_prompts: bool = True
    """Pieces of prompts run in the steps of decoding sequences; else in steps of their own, before any."""
    keeps_free: float = 0.0
    """Of the tokens that running sequences have still to write, the share for which it keeps room before it
    lets in another."""
    keeps_free_of_groups: float = 0.0
    """The same, where data-parallel groups share the ranks of attention."""
    shares_chunk: bool = False
    """Data-parallel groups share one chunk of prompts; else each has its own."""
    cache_as_weights: bool = False
    """A cache in 8 bit comes with weights in 8 or 4."""
    divides_sequences_with_experts: bool = False
    """Ranks that divide the experts have sequences of their own in its tables."""
    pool: Literal["share of card", "share of free", "static share"] = "share of card"
    """What its share is of: the card, what weights leave of it, or the card with weights inside."""
    running: int = 256
    """Sequences at once where nobody says a number."""


MMQ_TILE = 128
"""llama.cpp chooses the tile by the tokens of the whole batch, whatever one expert has of them
(ggml-cuda/mmq.cuh: mmq_x, up to 128)."""
MMQ_STEP = 8
"""Its tiles have a multiple of so many columns."""


def mmq_tile(conditions: Words, tokens: float, experts: int) -> int:
    """Return the tile of an expert's product: by its own tokens where each is multiplied on its own.

    >>> mmq_tile(frozenset(), 512, 128), mmq_tile(frozenset({"apart"}), 512, 128)
    (128, 8)
    """
    return MMQ_STEP if "apart" in conditions else MMQ_TILE


def triton_tile(conditions: Words, tokens: float, experts: int) -> int:
    """Return the rows of a block of fused experts: 16 while there are no more tokens than experts, else 64
    (vllm and sglang, fused_moe: get_default_config), which CUTLASS's grouped products are taken to have too.

    >>> triton_tile(frozenset(), 128, 128), triton_tile(frozenset(), 370, 128)
    (16, 64)
    """
    return 16 if tokens <= experts else 64


def vllm_row(word: str, date: str, sparse: bool) -> Words:
    """Return what a row of vLLM was measured with: it captures decoding as CUDA graphs since 0.2.3."""
    release = re.search(r" (\d+\.\d+\S*)", word)
    own = vllm(release[1], sparse) if release else frozenset()
    return own | {"eager"} if date and date < "2023-12" else own


def trtllm(release: str, sparse: bool) -> Words:
    """Return what a release of TensorRT-LLM does: in-flight batching since 0.10."""
    from ..facts.release import read_release

    return frozenset(("eager",)) if release and read_release(release) < (0, 10) else frozenset()


def trtllm_row(word: str, date: str, sparse: bool) -> Words:
    """Return what a row of TensorRT-LLM was measured with: from 0.10 on its tables are of in-flight batching;
    before, of static batches of gptSessionBenchmark (perf-overview.md)."""
    if word.startswith("tensorrt edge"):
        return frozenset(("edge",))
    release = re.search(r" (\d+\.\d+)", word)
    return trtllm(release[1], sparse) if release else frozenset()


def sglang(release: str, sparse: bool) -> Words:
    """Return what a release of SGLang does: from 0.5.10 on it runs prompts as pieces of CUDA graphs; before,
    it launches their kernels one by one. "" is the newest.

    >>> sorted(sglang("0.5.9", True)), sorted(sglang("", True))
    ([], ['captured'])
    """
    from ..facts.release import read_release

    return frozenset() if release and read_release(release) < (0, 5, 10) else frozenset(("captured",))


def sglang_row(word: str, date: str, sparse: bool) -> Words:
    """Return what a row of SGLang was measured with; one that names no release is taken for an older one."""
    release = re.search(r" (\d+\.\d+\S*)", word)
    return sglang(release[1], sparse) if release else frozenset()


TRTLLM_GEN = ("deepseek_v3", "deepseek_v32", "glm_moe_dsa", "kimi_k2", "kimi_k25", "mistral3", "qwen3_moe")
"""Types of models whose FP8 experts SGLang gives to FlashInfer's TensorRT-LLM kernels on Blackwell
(arg_groups/overrides.py; sgl-project/sglang#11816 of October, #13489 of November 2025)."""


def sglang_experts(family: str, kind: str, conditions: Words) -> str:
    """Return FlashInfer for experts in four bits and for those in FP8 of some models, else Triton
    (sgl-project/sglang#38374: what is not asked for lands there).

    >>> (
    ...     sglang_experts("deepseek_v3", "fp8_block", frozenset()),
    ...     sglang_experts("minimax_m2", "fp8_block", frozenset()),
    ... )
    ('flashinfer', 'triton')
    """
    fp8 = kind.startswith("fp8") and family in TRTLLM_GEN
    return "flashinfer" if fp8 or kind in ("fp4", "mxfp4", "int4") else "triton"


def vllm_experts(family: str, kind: str, conditions: Words) -> str:
    """Return Marlin for MXFP4 where OpenAI's Triton kernels were not installed, else Triton for releases
    before those whose own choice on Blackwell was measured as FlashInfer's (0.19 and 0.24: moe_perf of
    aiconfigurator-core 0.12.0).

    >>> vllm_experts("gpt_oss", "mxfp4", vllm("0.11.0", True)), vllm_experts("gpt_oss", "mxfp4", frozenset())
    ('marlin', '')
    """
    if kind == "mxfp4" and "marlin_mxfp4" in conditions:
        return "marlin"
    return "triton" if "own_experts" in conditions else ""


def vllm(release: str, sparse: bool) -> Words:
    """Return what a release of vLLM does: up to 0.19 its own fused kernels run routed experts on Blackwell;
    before 0.11.1 it comes without the package of Triton kernels for MXFP4, so that Marlin's run them
    (vllm-project/vllm#27370). "" is the newest.

    >>> sorted(vllm("0.11.0", True)), sorted(vllm("0.12.0", True)), sorted(vllm("", True))
    (['marlin_mxfp4', 'own_experts'], ['own_experts'], [])
    """
    from ..facts.release import read_release

    number = read_release(release) if release else ()
    own = {"own_experts"} if number and number < (0, 20) else set()
    return frozenset(own | {"marlin_mxfp4"} if number and number < (0, 11, 1) else own)


def llamacpp(release: str, sparse: bool) -> Words:
    """Return what llama.cpp of a date does with its kernels: launches them one by one, captures them, fuses
    them; "" is the newest.

    It captures a token's kernels as a CUDA graph since #6766 for dense models, and since 2025-08 with routed
    experts, whose ids the host had to read before (ggml-cuda.cu: MUL_MAT_ID switched capturing off). Norms
    with their weights, additions, gates and the choice of experts are one kernel each since 2025-09 (#14800,
    #15631, #16130). The experts of a prompt are one product since 2025-04-30 (#13199), and sorted for on the
    card since 2025-08-25 (#15525). A token's gate and up, their activation and vectors that are added to
    products are one kernel each since 2025-10-26 (#16715), rotary and cache write since 2025-11-13 (#16884).

    >>> sorted(llamacpp("2024-01", False)), sorted(llamacpp("", False))
    (['eager'], ['fused', 'fused_rope'])
    >>> sorted(llamacpp("2025-10-18", False)), sorted(llamacpp("2025-11-02", False))
    (['fused', 'split_gate'], ['fused'])
    >>> sorted(llamacpp("2025-03", True)), sorted(llamacpp("2025-08-23", True))
    (['apart', 'eager', 'host_sorted'], ['host_sorted'])
    """
    date = release if release[:4].isdigit() else ""
    if not date or date >= "2025-09":
        if not date or date >= "2025-11-13":
            return frozenset(("fused", "fused_rope"))
        return frozenset(("fused", "split_gate") if date < "2025-10-26" else ("fused",))
    own = {"eager"} if date < ("2025-08" if sparse else "2024-06") else set()
    if sparse:
        own |= {"apart"} if date < "2025-04-30" else set()
        own |= {"host_sorted"} if date < "2025-08-25" else set()
    return frozenset(own)


def llamacpp_row(word: str, date: str, sparse: bool) -> Words:
    """Return what a row of llama.cpp was measured with; distributed-llama has kernels of its own."""
    return frozenset() if word.startswith("distributed") else llamacpp(date, sparse)


SPEED_CLASSES = (
    SpeedClass(
        "vllm",
        "^vllm",
        vllm,
        vllm_row,
        expert_kernels=vllm_experts,
        tile=triton_tile,
        reduces_in_switch=False,  # it sets NCCL_CUMEM_ENABLE=0
        running=1024,
    ),
    SpeedClass(
        "sglang",
        "^sglang",
        sglang,
        sglang_row,
        expert_kernels=sglang_experts,
        tile=triton_tile,
        mixes_prompts=False,  # managers/scheduler.py: --enable-mixed-chunk is off by default
        reduces_in_switch=False,  # NCCL_NVLS_ENABLE is 0 by default
        keeps_free=0.7,  # environ.py: SGLANG_INIT_NEW_TOKEN_RATIO; schedule_policy.py: PrefillAdder
        keeps_free_of_groups=0.21,  # server_args.py: schedule_conservativeness * 0.3
        shares_chunk=True,
        pool="static share",
        running=4096,
    ),
    SpeedClass(
        "llamacpp",
        "llama",
        llamacpp,
        llamacpp_row,
        multiplies_vectors=True,
        multiplies_integers=True,
        tile=mmq_tile,
        overlaps_stages=False,
    ),
    SpeedClass(
        "trtllm",
        "^tensorrt",
        trtllm,
        trtllm_row,
        tile=triton_tile,
        cache_as_weights=True,
        divides_sequences_with_experts=True,
        pool="share of free",
        running=2048,
    ),
    SpeedClass("transformers", conditions=lambda release, sparse: frozenset(("eager",))),
)


def speed_class(name: str) -> SpeedClass:
    """Return a class by its name; one that no engine here has is like vLLM in nothing."""
    return BY_NAME.get(name) or SpeedClass(name)


BY_NAME = {each.name: each for each in SPEED_CLASSES}


def class_of_word(word: str) -> SpeedClass | None:
    """Return the class that a table of measured speed means by a word; None: nothing of it was measured.

    >>> class_of_word("Ollama/llama.cpp").name, class_of_word("MindIE 1.0.RC3")
    ('llamacpp', None)
    """
    lower = word.lower()
    return next((each for each in SPEED_CLASSES if each.spelled and re.search(each.spelled, lower)), None)
