"""CUDA graphs of vLLM: how many are captured, and what they hold."""

from collections.abc import Iterable
from typing import assert_never

from ... import facts
from ...ledger import Line, ranged
from ...model.attention import DSA, GQA, MLA, V4, V41, Attention, Linear, Sliding
from ...model.model import Model
from ...run.cards import Hardware
from ...run.serving import Resolved
from ...units import GIB, MIB
from ..overhead_lines import fitted_line, up_to
from ..rank import Stage
from .captures import captures
from .flashinfer import workspace_bytes
from .profile import is_sparse
from .release import VllmRules
from .runners import runs_second

LARGEST_GRAPH = 512
"""Tokens of the largest captured step (max_cudagraph_capture_size)."""


def largest_graph(hardware: Hardware, rules: VllmRules) -> int:
    """Return the tokens of the largest captured step: 0.28 doubles them on B200, B300 and GB200."""
    doubles = rules.doubles_graphs_on_blackwell and hardware.card.major == 10
    return LARGEST_GRAPH * 2 if doubles else LARGEST_GRAPH


def captures_wide(asked: Resolved, hardware: Hardware, rules: VllmRules) -> bool:
    """Return whether steps of more tokens than `LARGEST_GRAPH` are captured.

    >>> from ...run.hardware import parse_gpu
    >>> from .release import RELEASES
    >>> b200, rules = parse_gpu("b200"), RELEASES.at("0.22.0")
    >>> usual = Resolved(max_num_seqs=1024, max_num_batched_tokens=8192)
    >>> wide = usual._replace(compilation_config='{"max_cudagraph_capture_size": 2048}')
    >>> captures_wide(wide, b200, rules), captures_wide(usual, b200, rules)
    (True, False)
    """
    return max(two_largest(asked, rules, largest_graph(hardware, rules))) > LARGEST_GRAPH


def two_largest(asked: Resolved, rules: VllmRules, most: int, family: str = "") -> tuple[int, int]:
    """Return the tokens of the largest captured step and of the next.

    >>> from .release import RELEASES
    >>> rules, usual = RELEASES.at("0.22.0"), Resolved(max_num_seqs=256, max_num_batched_tokens=8192)
    >>> few = usual._replace(compilation_config='{"cudagraph_capture_sizes": [1, 64]}')
    >>> two_largest(usual, rules, 512), two_largest(few, rules, 512)
    ((512, 496), (64, 1))
    """
    said = captures(asked.compilation_config)
    if said.sizes is not None:
        taken = [0, 0, *(size for size in said.sizes if size <= (asked.max_num_batched_tokens or 0))]
        return taken[-1], taken[-2]
    largest = largest_step(asked, rules, most, family)
    step = rules.graph_step if largest > LAST_OF_EIGHT else 8
    return largest, max(largest - step, 0)


LAST_OF_EIGHT = 256
"""Tokens up to which every eighth size is captured."""


def own_largest(rules: VllmRules, family: str) -> int:
    """Return the size that gpt-oss has of its own, however few its sequences are (models/config.py,
    GptOssForCausalLMConfig); 0 for any other."""
    return rules.largest_graph_of_gpt_oss if family == "gpt_oss" else 0


def largest_step(asked: Resolved, rules: VllmRules, most: int, family: str = "") -> int:
    """Return the tokens of the largest captured step where its sizes are not said."""
    own = own_largest(rules, family)
    drafted = 1 + asked.draft_tokens if rules.captures_drafted_steps else 1
    largest = most if rules.captures_all_sizes else min(most, 2 * asked.max_num_seqs * drafted)
    said = captures(asked.compilation_config).largest
    return min(said or own or largest, asked.max_num_batched_tokens or 0)


def graph_sizes(
    asked: Resolved, rules: VllmRules, most: int = LARGEST_GRAPH, family: str = ""
) -> tuple[int, int, int]:
    """Return (steps captured in pieces, steps captured whole, tokens of the largest whole one): sizes 1, 2,
    4, then every 8 to 256, every 16 to 512 (before 0.11.1: every 8).

    Pieces cover all of them, whole graphs (0.11 on) those of steps of decoding: up to max_num_seqs, each with
    the tokens of its draft. V0 captures whole steps up to 256 sequences for each of its virtual engines, one
    a pipeline stage (worker/model_runner.py capture_model).

    >>> from .release import RELEASES
    >>> graph_sizes(Resolved(max_num_seqs=1024, max_num_batched_tokens=8192), RELEASES.at("0.19.0"))
    (51, 51, 512)
    >>> graph_sizes(Resolved(max_num_seqs=2, max_num_batched_tokens=8192), RELEASES.at("0.9.2"))
    (67, 0, 0)
    >>> from ...run.speculation import Speculation
    >>> drafted = Resolved(max_num_seqs=256, max_num_batched_tokens=8192, speculation=Speculation("mtp", 4))
    >>> graph_sizes(drafted, RELEASES.at("0.27.1"))[:2]
    (51, 51)
    >>> few = Resolved(max_num_seqs=64, max_num_batched_tokens=2048)
    >>> [graph_sizes(few, RELEASES.at(each), family="gpt_oss")[:2] for each in ("0.11.0", "0.12.0")]
    [(81, 11), (83, 11)]
    """
    own = own_largest(rules, family)
    step, sequences, drafted = 16 if own else rules.graph_step, asked.max_num_seqs, 1 + asked.draft_tokens
    said = captures(asked.compilation_config)
    if rules.v0:
        return 0, _num_sizes(min(sequences, 256), step) * asked.layout.pp, 0
    largest = largest_step(asked, rules, most, family)

    def count(most: int) -> int:
        if said.sizes is None:
            return _num_sizes(most, step)
        return sum(size <= min(most, asked.max_num_batched_tokens) for size in said.sizes)

    top = largest if said.sizes is None else min(asked.max_num_batched_tokens, max(said.sizes, default=0))
    if said.mode == "FULL":
        return 0, count(top), top
    decoded = min(top, sequences * drafted) if rules.captures_whole_steps and said.are_whole else 0
    return count(top) if said.are_pieces else 0, count(decoded), decoded


def captures_whole(model: Model, asked: Resolved, hardware: Hardware, rules: VllmRules) -> bool:
    """Return whether any step is captured whole, attention with it.

    >>> from ...model.load import load
    >>> from ...run.hardware import parse_gpu
    >>> from .release import RELEASES
    >>> model, card, rules = load("qwen3-8b"), parse_gpu("a40"), RELEASES.at("0.27.1")
    >>> some = Resolved(max_num_seqs=8, max_num_batched_tokens=2048)
    >>> [captures_whole(model, some._replace(enforce_eager=each), card, rules) for each in (False, True)]
    [True, False]
    """
    if asked.enforce_eager:
        return False
    return graph_sizes(asked, rules, largest_graph(hardware, rules), model.family)[1] > 0


def _num_sizes(largest: int, step: int) -> int:
    """How many of 1, 2, 4, every 8 up to 256 and every `step` above are at most `largest`.

    >>> _num_sizes(512, 16), _num_sizes(256, 8), _num_sizes(3, 8)
    (51, 35, 2)
    """
    return sum(size <= largest for size in (1, 2, 4)) + min(largest, 256) // 8 + max(largest - 256, 0) // step


def graph_lines(
    model: Model, asked: Resolved, hardware: Hardware, stage: Stage, rules: VllmRules, tags: tuple[str, ...]
) -> list[Line]:
    """Memory of captured graphs: what the driver keeps of each, and what the largest has in its pool. Few
    leave at least what the first do. The first whole step makes FlashInfer's workspace; where none is
    captured, the first request does.

    A trial of steps in pieces has no batch, so what stands in for the indexer's scores is allocated, and is
    measured before the cache is emptied (gpu_model_runner.py, profile_cudagraph_memory): an estimate of 4.99
    GiB by a capture of 4.13 for GLM-5 on four GB200 (0.26, code index id 61511710941).
    """
    if asked.enforce_eager or "tpu" in tags or ("xpu" in tags and not rules.captures_on_this_xpu):
        return []
    most = largest_graph(hardware, rules)
    in_pieces, whole, whole_tokens = graph_sizes(asked, rules, most, model.family)
    number, num_layers = in_pieces + whole, stage.stop - stage.start
    kept = driver_bytes(model, asked, num_layers, (in_pieces, whole), rules, tags)
    few = max(1 - number / facts.constant("vllm", "graphs_fitted", rules.release, *tags).value, 0)
    large = tags if few < 0.5 else tuple(tag for tag in tags if tag != "sm12")  # 0.13 GiB for few small ones
    spread = facts.constant("vllm", "graphs_spread", rules.release, *large)
    if "other_vendor" in tags and not {"amd", "ascend"} & set(tags):
        spread = spread._replace(num_runs=0, source="assumed: as on NVIDIA's cards, of whose runs the fit is")
    kept, spread = (
        kept * spread.value,
        spread._replace(low=spread.low / spread.value, high=spread.high / spread.value),
    )
    if asked.enable_lora and rules.captures_with_and_without_adapters:
        kept *= 2
        spread = spread._replace(low=spread.low / 2, num_runs=0)
    twice = ", each with and without adapters" if asked.enable_lora else ""
    formula = f"{num_layers} layers, {number} graphs{twice}"
    pool = 0
    if is_sparse(model):
        from .sparse import LOGITS_BYTES, captured_bytes

        if not ("amd" in tags and rules.reserves_scores_on_rocm):
            pool = captured_bytes(model, asked, whole_tokens)
        if in_pieces and estimates_graphs(model, asked, rules, tags):
            pool += LOGITS_BYTES  # steps in pieces are tried without a batch, as the profile run
        formula += f", {pool:,} B of the indexer's scores" if pool else ""
    if "hopper" in tags and asked.dtype != "float32":
        split = split_bytes(stage.kinds(model).attentions, whole_tokens, asked.layout.tp, rules)
        formula += f", {split:,} B of attention's splits" if split else ""
        pool += split
    spaces, said = workspace_ends(model, asked, hardware, stage, rules, tags)
    formula += said
    line = fitted_line("runtime.cuda_graphs", max(int(kept), 0), spread, formula, spread.source)
    fewest = facts.constant("vllm", "graphs_fewest", rules.release, *tags).high
    first = facts.constant("vllm", "graphs_first", rules.release, *tags)
    usual, least = max(line.bytes, int(first.value * GIB)), int(line.low_bytes * (1 - fewest * few))
    line = up_to(line._replace(bytes=usual, low_bytes=least), int(first.high * GIB))
    ends = (line.low_bytes, line.bytes, line.high_bytes)
    low, middle, high = (pool + each + more for each, more in zip(ends, spaces, strict=True))
    return [line._replace(low_bytes=low, bytes=middle, high_bytes=high)]


def workspace_ends(
    model: Model, asked: Resolved, hardware: Hardware, stage: Stage, rules: VllmRules, tags: tuple[str, ...]
) -> tuple[tuple[int, int, int], str]:
    """Return (the least, the middle and the most that kernels set aside with the first captured steps, what
    the line says of it): FlashInfer's workspace, which before 0.26 not all captures show (5 of
    Nemotron-3-Nano took 0.04 GiB under WSL, 0.13), and those of experts in NVFP4."""
    most = largest_graph(hardware, rules)
    workspace = 0
    if captures_whole(model, asked, hardware, rules):
        workspace = workspace_bytes(model, asked, hardware, stage, rules)
    said = f", {workspace:,} B of FlashInfer's workspace" if workspace else ""
    low, middle, high = workspace if rules.sizes_flashinfer_by_batch else 0, workspace, workspace
    if "nvfp4_sm10" in tags and estimates_graphs(model, asked, rules, tags):
        from .routed_workspace import tried_ends  # one kernel of one format

        in_pieces = graph_sizes(asked, rules, most, model.family)[0]
        sizes = two_largest(asked, rules, most, model.family)
        tried = tried_ends(model, asked, in_pieces, sizes, rules, tags)
        said += f", {tried[1]:,} B of experts' workspaces" if tried[1] else ""
        low, middle, high = low + tried[0], middle + tried[1], high + tried[2]
    return (low, middle, high), said


def beyond_trial(
    model: Model, asked: Resolved, stage: Stage, rules: VllmRules, tags: tuple[str, ...], most: int
) -> list[Line]:
    """Return what the capture holds more than its trial had: the trial takes two sizes of each mode, and
    leaves out what its set-up keeps (vllm#51590)."""
    share = facts.constant("vllm", "graphs_beyond", rules.release, *tags)
    if asked.enforce_eager or not share.high:
        return []
    pieces, whole, _ = graph_sizes(asked, rules, most, model.family)
    kept = driver_bytes(model, asked, stage.stop - stage.start, (pieces, whole), rules, tags)
    ends = int(kept * share.value), int(kept * share.low), int(kept * share.high)
    formula = f"{pieces + whole} graphs, {share.low:g} to {share.high:g} of what the driver keeps of them"
    what = "graphs beyond their trial"
    return [ranged("runtime.workspaces", "engine", what, ends, "assumed", formula, share.source)]


def driver_bytes(
    model: Model,
    asked: Resolved,
    num_layers: int,
    steps: tuple[int, int],
    rules: VllmRules,
    tags: tuple[str, ...],
) -> float:
    """Return bytes that the driver keeps of steps captured in pieces and whole. One in pieces is a graph for
    each layer and one more; a driver before 550 keeps three times as much.

    Qwen3-8B, 51 steps of each kind: (51 x 37 x 0.26 + 51 x 36 x 0.13) MiB.

    >>> from ...model.load import load
    >>> from .release import RELEASES
    >>> from ...run.serving import Layout
    >>> asked = Resolved(layout=Layout())
    >>> round(driver_bytes(load("qwen3-8b"), asked, 36, (51, 51), RELEASES.at("0.19.0"), ()) / GIB, 2)
    0.71
    """

    def of(quantity: str) -> float:
        return facts.constant("vllm", quantity, rules.release, *tags).value

    in_pieces, whole = steps
    pieces, layers = in_pieces * (num_layers + 1), whole * num_layers
    if rules.v0:
        found = of("graphs_v0_kernel") * layers * v0_kernels(model, asked, rules)
    else:
        found = of("graphs_piece") * pieces + of("graphs_layer") * layers
        found += of("graphs_experts") * pieces if model.kinds.has_experts else 0
        found += of("graphs_mla") * (pieces + layers) if {"mla", "v4"} & set(tags) else 0
    if reduces_by_nccl(asked, tags):
        found += of("graphs_reduce") * (in_pieces + whole) * num_layers
    return found * MIB


KERNELS, MORE_OF_EXPERTS, MORE_OF_LATENTS, MORE_OF_DEEPSEEK = 12, 8, 11, 25
"""Kernels of a layer of V0, of which nothing is compiled: norms, products, rotary, cache, attention, gate.
DeepSeek's rotary is PyTorch's own (rotary_embedding.py, DeepseekScalingRotaryEmbedding), and its experts are
picked by groups, beside shared ones (models/deepseek_v2.py of 0.7.2)."""
MORE_OF_BITSANDBYTES, MORE_OF_PLACES = 24, 20
"""Seven matrices are unpacked (quantization/bitsandbytes.py); rotary of images' places is PyTorch's own."""


def v0_kernels(model: Model, asked: Resolved, rules: VllmRules) -> int:
    """Return how many kernels a layer of V0 has, by which its graphs go.

    >>> from ...model.load import load
    >>> from .release import RELEASES
    >>> models = [load(name) for name in ("llama-3.1-8b", "qwen2-vl-7b", "deepseek-r1")]
    >>> [v0_kernels(each, Resolved(), RELEASES.at("0.7.2")) for each in models]
    [12, 32, 56]
    """
    kernels = KERNELS + MORE_OF_EXPERTS * model.kinds.has_experts
    kernels += MORE_OF_LATENTS * bool(model.kinds.latents)
    kernels += MORE_OF_DEEPSEEK * bool(model.kinds.latents and model.kinds.has_experts)
    kernels += MORE_OF_PLACES * (model.family in rules.tries_videos)
    return kernels + MORE_OF_BITSANDBYTES * ((asked.quantization or model.quantization) == "bitsandbytes")


def reduces_by_nccl(asked: Resolved, tags: tuple[str, ...]) -> bool:
    """Return whether ranks reduce by NCCL within graphs: vLLM's own kernel joins the cards of one node, and
    more than two of them only over a mesh of NVLink (device_communicators/custom_all_reduce.py).

    >>> from ...run.serving import Layout
    >>> reduces_by_nccl(Resolved(layout=Layout(tp=4)), ("tp", "no_link"))
    True
    """
    alone = asked.layout.tp > 2 and bool({"no_link", "bridged"} & set(tags))
    return alone or (asked.layout.tp > 1 and "multi_node" in tags)


MOST_SPLITS = 32
"""Parts of a sequence for which FlashAttention 3 has room in a captured step
(config/attention.py, flash_attn_max_num_splits_for_cuda_graph)."""
WIDEST_HEAD = 256
"""Elements of the widest head that FlashAttention takes."""


def split_bytes(attentions: Iterable[Attention], tokens: int, tp: int, rules: VllmRules) -> int:
    """Return the bytes of what FlashAttention 3 sums each token's parts in, in the largest captured step.

    Llama-3.3-70B took 1.79 GiB at TP2 and 1.66 at TP4, an eighth of a GiB less (0.19); MLA's values are as
    wide as its latents.

    >>> from ...model.load import load
    >>> from .release import RELEASES
    >>> split_bytes(load("llama-3.3-70b").kinds.attentions, 512, 2, RELEASES.at("0.19.0")) / 2**30
    0.25
    """
    widths = [0]
    for attention in attentions:
        match attention:
            case MLA() if rules.splits_latents:
                widths.append(attention.num_heads * attention.kv_lora_rank)
            case GQA() | Sliding():
                core = attention.core
                if core.head_dim > WIDEST_HEAD:
                    return 0  # Triton's kernel for all layers
                widths.append(core.num_heads * (core.value_dim or core.head_dim))
            case MLA() | Linear() | DSA() | V4() | V41():
                continue
            case _:
                assert_never(attention)
    return MOST_SPLITS * tokens * max(widths) // tp * 4


def estimates_graphs(model: Model, asked: Resolved, rules: VllmRules, tags: tuple[str, ...]) -> bool:
    """Return whether the engine tries a few graphs before it cuts the cache, and takes what all would hold
    off it (v1/worker/gpu_worker.py, determine_available_memory).

    It does from 0.20 on: its text says "default since v0.21.0", and three logs of 0.20.0 have so much less.
    On ROCm it does from 0.26 on, on Ascend never (vllm_ascend/worker/worker.py of 0.23). The second model
    runner estimates nothing before 0.29 (v1/worker/gpu/model_runner.py, profile_cudagraph_memory), so its
    graphs lie beside a pool that left them no room: Llama-3.1-70B on eight L40S ran out while it captured
    (0.25.1, vllm#49224).

    >>> from ...model.load import load
    >>> from .release import RELEASES
    >>> model = load("llama-3.1-8b")
    >>> [
    ...     estimates_graphs(model, Resolved(), RELEASES.at(text), ())
    ...     for text in ("0.19.0", "0.21.0", "0.25.0", "0.29.0")
    ... ]
    [False, True, False, True]
    """
    if "ascend" in tags or ("amd" in tags and not rules.charges_graphs_on_rocm):
        return False
    if runs_second(model, asked, rules, tags) and not rules.second_runner_charges_graphs:
        return False
    return rules.tries_graphs
