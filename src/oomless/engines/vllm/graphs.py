"""CUDA graphs of vLLM: how many are captured, and what they hold."""

from ... import facts
from ...ledger import Line
from ...model.model import Model
from ...run.serving import Resolved
from ...units import GIB
from ..overhead_lines import fitted_line, up_to
from ..rank import Stage
from .captures import captures
from .profile import is_sparse
from .release import VllmRules

LARGEST_GRAPH = 512
"""Tokens of the largest captured step (max_cudagraph_capture_size)."""


def graph_sizes(asked: Resolved, rules: VllmRules) -> int:
    """How many graphs are captured: sizes 1, 2, 4, then every 8 to 256, every 16 to 512 (before 0.16: every
    8).

    Piecewise graphs cover all of them, full graphs (0.11 on) those up to max_num_seqs. V0 captures whole
    steps up to 256 sequences for each of its virtual engines, one a pipeline stage
    (worker/model_runner.py capture_model).

    >>> from .release import RELEASES
    >>> graph_sizes(Resolved(max_num_seqs=1024, max_num_batched_tokens=8192), RELEASES.at("0.19.0"))
    102
    >>> graph_sizes(Resolved(max_num_seqs=2, max_num_batched_tokens=8192), RELEASES.at("0.9.2"))
    67
    """
    step, sequences = rules.graph_step, asked.max_num_seqs
    said = captures(asked.compilation_config)
    if rules.v0:
        return _num_sizes(min(sequences, 256), step) * asked.layout.pp
    largest = LARGEST_GRAPH if rules.captures_all_sizes else min(LARGEST_GRAPH, 2 * sequences)
    largest = min(said.largest or largest, asked.max_num_batched_tokens)

    def count(most: int) -> int:
        if said.sizes is None:
            return _num_sizes(most, step)
        return sum(size <= min(most, asked.max_num_batched_tokens) for size in said.sizes)

    top = largest if said.sizes is None else asked.max_num_batched_tokens
    whole = count(min(top, sequences)) if rules.captures_whole_steps and said.are_whole else 0
    return (count(top) if said.are_pieces else 0) + whole


def _num_sizes(largest: int, step: int) -> int:
    """How many of 1, 2, 4, every 8 up to 256 and every `step` up to 512 are at most `largest`.

    >>> _num_sizes(512, 16), _num_sizes(256, 8), _num_sizes(3, 8)
    (51, 35, 2)
    """
    return (
        sum(size <= largest for size in (1, 2, 4))
        + min(largest, 256) // 8
        + max(min(largest, 512) - 256, 0) // step
    )


def graph_lines(
    model: Model, asked: Resolved, stage: Stage, rules: VllmRules, tags: tuple[str, ...]
) -> list[Line]:
    """Memory of captured graphs: a fit over runs with 2 x 51 graphs, scaled by their number; few leave at
    least what the first do."""
    if asked.enforce_eager:
        return []

    def of(quantity: str) -> float:
        return facts.constant("vllm", quantity, rules.release, *tags).value

    num_layers, num_graphs = stage.stop - stage.start, graph_sizes(asked, rules)
    if rules.v0:
        estimate = of("graphs_v0_per_hidden") * model.hidden_size * asked.layout.pp
    else:
        estimate = of("graphs_base") + of("graphs_per_layer") * num_layers
        estimate += of("graphs_moe") if model.kinds.has_experts else 0
        estimate += of("graphs_mla") if {"mla", "v4"} & set(tags) else 0
        estimate += of("graphs_tp") if "tp" in tags else 0
        estimate *= num_graphs / of("graphs_fitted")
    spread = facts.constant("vllm", "graphs_spread", rules.release, *tags)
    estimate, spread = (
        estimate * spread.value,
        spread._replace(low=spread.low / spread.value, high=spread.high / spread.value),
    )
    if asked.enable_lora and rules.captures_with_and_without_adapters:
        estimate *= 2
        spread = spread._replace(low=spread.low / 2, num_runs=0)
    formula = (
        f"{num_layers} layers, {num_graphs} "
        f"graphs{', each with and without adapters' if asked.enable_lora else ''}"
    )
    scores = 0
    if is_sparse(model):
        from .sparse import captured_bytes

        scores = captured_bytes(model, asked, min(asked.max_num_seqs, LARGEST_GRAPH))
    formula += f", {scores:,} B of the indexer's scores" if scores else ""
    line = fitted_line(
        "runtime.cuda_graphs", max(int(estimate * GIB), 0) + scores, spread, formula, spread.source
    )
    if rules.v0:
        return [line]
    few = max(1 - num_graphs / of("graphs_fitted"), 0)
    fewest = facts.constant("vllm", "graphs_fewest", rules.release).high
    first = facts.constant("vllm", "graphs_first", rules.release, *tags)
    usual, least = max(line.bytes, int(first.value * GIB)), int(line.low_bytes * (1 - fewest * few))
    return [up_to(line._replace(bytes=usual, low_bytes=least), int(first.high * GIB))]
