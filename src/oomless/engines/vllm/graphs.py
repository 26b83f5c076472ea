"""CUDA graphs of vLLM: how many are captured, and what they hold."""

from ... import facts
from ...ledger import Line
from ...model.model import Model
from ...run.cards import Hardware
from ...run.serving import Resolved
from ...units import GIB
from ..overhead_lines import fitted_line, up_to
from ..rank import Stage
from .captures import captures
from .profile import is_sparse
from .release import VllmRules
from .runners import runs_second

LARGEST_GRAPH = 512
"""Tokens of the largest captured step (max_cudagraph_capture_size)."""


def largest_graph(hardware: Hardware, rules: VllmRules) -> int:
    """Return the tokens of the largest captured step: 0.28 doubles them on B200, B300 and GB200."""
    doubles = rules.doubles_graphs_on_blackwell and 10 <= hardware.card.capability < 11
    return LARGEST_GRAPH * 2 if doubles else LARGEST_GRAPH


def graph_sizes(asked: Resolved, rules: VllmRules, most: int = LARGEST_GRAPH) -> int:
    """How many graphs are captured: sizes 1, 2, 4, then every 8 to 256, every 16 to 512 (before 0.11.1: every
    8).

    Piecewise graphs cover all of them, full graphs (0.11 on) those of steps of decoding: up to max_num_seqs,
    each with the tokens of its draft. V0 captures whole steps up to 256 sequences for each of its virtual
    engines, one a pipeline stage (worker/model_runner.py capture_model).

    >>> from .release import RELEASES
    >>> graph_sizes(Resolved(max_num_seqs=1024, max_num_batched_tokens=8192), RELEASES.at("0.19.0"))
    102
    >>> graph_sizes(Resolved(max_num_seqs=2, max_num_batched_tokens=8192), RELEASES.at("0.9.2"))
    67
    >>> from ...run.speculation import Speculation
    >>> drafted = Resolved(max_num_seqs=256, max_num_batched_tokens=8192, speculation=Speculation("mtp", 4))
    >>> graph_sizes(drafted, RELEASES.at("0.27.1"))
    102
    """
    step, sequences, drafted = rules.graph_step, asked.max_num_seqs, 1 + asked.draft_tokens
    said = captures(asked.compilation_config)
    if rules.v0:
        return _num_sizes(min(sequences, 256), step) * asked.layout.pp
    usual = 2 * sequences * (drafted if rules.captures_drafted_steps else 1)
    largest = most if rules.captures_all_sizes else min(most, usual)
    largest = min(said.largest or largest, asked.max_num_batched_tokens)

    def count(most: int) -> int:
        if said.sizes is None:
            return _num_sizes(most, step)
        return sum(size <= min(most, asked.max_num_batched_tokens) for size in said.sizes)

    top = largest if said.sizes is None else asked.max_num_batched_tokens
    whole = count(min(top, sequences * drafted)) if rules.captures_whole_steps and said.are_whole else 0
    return (count(top) if said.are_pieces else 0) + whole


def _num_sizes(largest: int, step: int) -> int:
    """How many of 1, 2, 4, every 8 up to 256 and every `step` above are at most `largest`.

    >>> _num_sizes(512, 16), _num_sizes(256, 8), _num_sizes(3, 8)
    (51, 35, 2)
    """
    return sum(size <= largest for size in (1, 2, 4)) + min(largest, 256) // 8 + max(largest - 256, 0) // step


def graph_lines(
    model: Model, asked: Resolved, stage: Stage, rules: VllmRules, tags: tuple[str, ...], most: int
) -> list[Line]:
    """Memory of captured graphs, the largest of `most` tokens: a fit over runs with 2 x 51 graphs, scaled by
    their number; few leave at least what the first do."""
    if asked.enforce_eager:
        return []
    number = graph_sizes(asked, rules, most)

    def of(quantity: str) -> float:
        return facts.constant("vllm", quantity, rules.release, *tags).value

    num_layers = stage.stop - stage.start
    if rules.v0:
        estimate = of("graphs_v0_per_hidden") * model.hidden_size * asked.layout.pp
    else:
        estimate = of("graphs_base") + of("graphs_per_layer") * num_layers
        estimate += of("graphs_moe") if model.kinds.has_experts else 0
        estimate += of("graphs_mla") if {"mla", "v4"} & set(tags) else 0
        estimate += of("graphs_tp") if "tp" in tags else 0
        estimate *= number / of("graphs_fitted")
    few = max(1 - number / of("graphs_fitted"), 0)
    large = tags if few < 0.5 else tuple(tag for tag in tags if tag != "sm12")  # 0.13 GiB for few small ones
    spread = facts.constant("vllm", "graphs_spread", rules.release, *large)
    if "other_vendor" in tags and not {"amd", "ascend"} & set(tags):
        spread = spread._replace(num_runs=0, source="assumed: as on NVIDIA's cards, of whose runs the fit is")
    estimate, spread = (
        estimate * spread.value,
        spread._replace(low=spread.low / spread.value, high=spread.high / spread.value),
    )
    if asked.enable_lora and rules.captures_with_and_without_adapters:
        estimate *= 2
        spread = spread._replace(low=spread.low / 2, num_runs=0)
    twice = ", each with and without adapters" if asked.enable_lora else ""
    formula = f"{num_layers} layers, {number} graphs{twice}"
    scores = 0
    if is_sparse(model) and not ("amd" in tags and rules.reserves_scores_on_rocm):
        from .sparse import captured_bytes

        scores = captured_bytes(model, asked, min(asked.max_num_seqs, most))
    formula += f", {scores:,} B of the indexer's scores" if scores else ""
    line = fitted_line(
        "runtime.cuda_graphs", max(int(estimate * GIB), 0) + scores, spread, formula, spread.source
    )
    if rules.v0:
        return [line]
    fewest = facts.constant("vllm", "graphs_fewest", rules.release).high
    first = facts.constant("vllm", "graphs_first", rules.release, *tags)
    usual, least = max(line.bytes, int(first.value * GIB)), int(line.low_bytes * (1 - fewest * few))
    return [up_to(line._replace(bytes=usual, low_bytes=least), int(first.high * GIB))]


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
    return rules.charges_graphs
