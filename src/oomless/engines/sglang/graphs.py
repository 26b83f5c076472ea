"""CUDA graphs of SGLang: of decode steps, by the kind of attention, and of prefills from 0.5.10 on."""

from ... import facts
from ...facts.release import Release
from ...ledger import Line, ranged
from ...model.attention import GQA, MLA, Linear
from ...model.model import Model
from ...run.cards import Hardware
from ...run.serving import Resolved
from ...units import GIB
from ..overhead_lines import measured
from ..rank import Stage
from .release import RELEASES, attention_ranks, by_fa3
from .share import captures_prefills, prefill_sizes

PIECES = "server_args.py of 0.5.10 to 0.5.14, _handle_piecewise_cuda_graph: not by --disable-cuda-graph"


def graphs_are_captured(model: Model, asked: Resolved, hardware: Hardware) -> bool:
    """Return whether any graphs are captured: those of prefills in pieces are so beside
    --disable-cuda-graph, until --disable-piecewise-cuda-graph.

    >>> from ...model.load import load
    >>> from ...run.hardware import parse_gpu
    >>> from ...run.serving import Layout
    >>> asked, card = Resolved(layout=Layout(), enforce_eager=True), parse_gpu("h100")
    >>> said = [asked._replace(engine_version=text) for text in ("0.5.9", "0.5.13", "0.5.15")]
    >>> [graphs_are_captured(load("qwen3-30b-a3b"), each, card) for each in said]
    [False, True, False]
    """
    rules = RELEASES.at(asked.engine_version)
    apart = rules.compiles_prefills and asked.layout.pp == 1 and not model.kinds.has(MLA)
    return not asked.enforce_eager or (apart and captures_prefills(model, asked, hardware, rules))


def graph_line(model: Model, asked: Resolved, hardware: Hardware, stage: Stage) -> Line:
    """Return the line of captured graphs; latent attention on Hopper adds what each head of the rank
    reserves.

    >>> from ...model.load import load
    >>> from ...run.hardware import parse_gpu
    >>> from ...run.serving import Layout
    >>> from ...units import GIB
    >>> asked = Resolved(engine_version="0.4.6", layout=Layout(tp=8))
    >>> line = graph_line(load("deepseek-v3"), asked, parse_gpu("h200:8"), Stage(0, 1, 0, 61))
    >>> round(line.bytes / GIB, 2)
    6.2
    """
    release, tags = RELEASES.at(asked.engine_version).release, graph_tags(model, asked, hardware)
    if asked.enforce_eager:  # its prefills alone are captured
        none = ranged("runtime.cuda_graphs", "engine", "CUDA graphs", (0, 0, 0), "fitted", "no steps", PIECES)
        return with_prefills(none, len(prefill_sizes(asked.max_num_batched_tokens or 0)), release, tags)
    if asked.disable_prefill_cuda_graph:  # with states not measured
        tags = tuple(tag for tag in tags if tag != "states")
    few = captures_few(asked) and "mla" not in tags
    line = measured("sglang", "runtime.cuda_graphs", "graphs", release, ("few",) if few else tags)
    prefills = {"plain", "states"} & set(tags) and asked.layout.pp == 1
    if prefills and captures_prefills(model, asked, hardware, RELEASES.at(asked.engine_version)):
        return with_prefills(line, len(prefill_sizes(asked.max_num_batched_tokens or 0)), release, tags)
    each = facts.constant("sglang", "graphs_per_head", release, *tags)
    heads = max((mla.num_heads for mla in stage.kinds(model).latents), default=0)
    if not heads or not each.high:
        return line
    heads //= attention_ranks(asked)
    more = [int(heads * size * GIB) for size in (each.value, each.low, each.high)]
    return line._replace(
        bytes=line.bytes + more[0],
        low_bytes=line.low_bytes + more[1],
        high_bytes=line.high_bytes + more[2],
        formula=f"{line.formula} + {heads} heads x {each.value:g} GiB",
        source=f"{line.source}; {each.source}",
    )


FEW_BATCH = 8


def captures_few(asked: Resolved) -> bool:
    """Return whether batches of at most eight are captured, which are four sizes: no more than may run
    (cuda_graph_runner.py, get_batch_sizes_to_capture).

    >>> from ...run.serving import Layout
    >>> asked = Resolved(cuda_graph_max_bs=256, layout=Layout())
    >>> [captures_few(asked._replace(max_num_seqs=num)) for num in (4, 64)]
    [True, False]
    """
    groups = asked.layout.dp if asked.layout.enable_dp_attention else 1
    graphs = asked.cuda_graph_max_bs or FEW_BATCH + 1
    return min(graphs, (asked.max_num_seqs or graphs) // groups) <= FEW_BATCH


def with_prefills(line: Line, num_sizes: int, release: Release, tags: tuple[str, ...]) -> Line:
    """Return the line of decode graphs with those of prefills, which 0.5.10 captures besides: one for each
    size up to the chunk, unless there are pipeline stages (server_args.py)."""
    each = facts.constant("sglang", "prefill_graph", release, *tags)
    more = [int(num_sizes * size * GIB) for size in (each.value, each.low, each.high)]
    return line._replace(
        bytes=line.bytes + more[0],
        low_bytes=line.low_bytes + more[1],
        high_bytes=line.high_bytes + more[2],
        formula=f"{line.formula} + {num_sizes} graphs of prefills x {each.value:g} GiB",
        source=f"{line.source}; {each.source}",
    )


def graph_tags(model: Model, asked: Resolved, hardware: Hardware) -> tuple[str, ...]:
    """What the memory of graphs goes by: latent attention on Hopper reserves the partial results of every
    split of its longest cache (FlashAttention 3), of all heads under data-parallel attention; windows and
    chunks have wrappers and tables of their own, which plain grouped queries have not."""
    found = {
        "mla": model.kinds.has(MLA),
        "hopper": by_fa3(asked, hardware),
        "dp_attention": asked.layout.enable_dp_attention,
        "states": model.kinds.has(Linear),
        "plain": all(isinstance(each, GQA) for each in model.kinds.attentions),
    }
    return tuple(name for name, holds in found.items() if holds)
