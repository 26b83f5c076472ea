"""Questions of any engine for laws: its releases, its cards, the fields it knows, models of every kind."""

from hypothesis import strategies as st

from oomless import facts
from oomless.engines import engine
from oomless.engines.record import Engine
from oomless.model.load import load
from oomless.run.hardware import parse_gpu
from oomless.run.options import by_keyword, engines_of
from oomless.run.serving import Asked, Layout
from oomless.run.speculation import Speculation
from property.questions import ALL, Question, sizes

CARDS = {
    "vllm": "h200 h100 a100-80gb b200 rtx-4090 mi300x".split(),
    "vllm-ascend": ["ascend-910b"],
    "vllm-hpu": ["gaudi-2", "gaudi-3"],
    "sglang": "h200 h100 b200 rtx-4090 mi300x".split(),
    "trtllm": "h200 h100 l40s b200".split(),
    "mlx": "m3-ultra-512gb m4-max-128gb m1-max-32gb".split(),
    "transformers": "h100 a100-80gb rtx-4090".split(),
}
LLAMA_CARDS = "rtx-4090 rtx-3090 h100 24GiB m3-ultra-512gb".split()


def mixed_models() -> list[str]:
    """One model of the catalogue for each family whose layers are of several kinds of attention."""
    found: dict[str, str] = {}
    for row in facts.table("catalogue"):
        model = load(row["name"])
        if len(model.kinds.attentions) > 1:
            found.setdefault(model.family, row["name"])
    return sorted(found.values())


MIXED = mixed_models()
MODELS = [*ALL, *MIXED]


def knows(rules: Engine, field: str) -> bool:
    """Whether the engine has a field of the question."""
    known = engines_of(by_keyword("infer")[field])
    return not known or rules.name in known


@st.composite
def layouts_of(draw: st.DrawFn, rules: Engine, most_pp: int = 3) -> Layout:
    """A layout of at most 16 ranks that the engine can be asked for."""
    pp = draw(st.sampled_from([size for size in (1, 1, 2, 3) if size <= most_pp]))
    if not knows(rules, "tp"):
        return Layout(pp=pp if knows(rules, "pp") else 1)
    tp = draw(st.sampled_from([1, 1, 2, 4, 8]))
    expert_parallel = draw(st.booleans()) if tp > 1 and knows(rules, "enable_expert_parallel") else False
    return Layout(tp=tp, pp=min(pp, 16 // tp), enable_expert_parallel=expert_parallel)


@st.composite
def engine_questions(
    draw: st.DrawFn, name: str, names: list[str] | None = None, most_pp: int = 3
) -> Question:
    """A question of one engine with everything that can vary."""
    rules = engine(name)
    layout = draw(layouts_of(rules, most_pp))
    drawn: dict[str, object] = {
        "max_num_seqs": draw(st.one_of(st.none(), sizes(1, 512))),
        "max_num_batched_tokens": draw(st.one_of(st.none(), sizes(16, 16384))),
        "ubatch_size": draw(st.one_of(st.none(), sizes(16, 4096))),
        "speculation": draw(st.sampled_from([None, Speculation("mtp")])),
        "enforce_eager": draw(st.booleans()),
        "cpu_moe": draw(st.sampled_from([False, False, True])),
        "n_gpu_layers": draw(st.one_of(st.none(), st.none(), st.integers(0, 99))),
        "cache_type_k": draw(st.sampled_from(["f16", "f16", "q8_0"])),
        "cache_implementation": draw(st.sampled_from(["dynamic", "dynamic", "static"])),
    }
    asked = Asked(
        engine=name,
        engine_version=draw(st.sampled_from(rules.versions)),
        layout=layout,
        max_model_len=draw(st.one_of(st.none(), sizes(256, 8192))),
        concurrency=draw(st.one_of(st.none(), sizes(1, 256))),
        **{field: value for field, value in drawn.items() if knows(rules, field)},  # type: ignore[arg-type]  # fields of mixed types, by name
    )
    card = draw(st.sampled_from(CARDS.get(name, LLAMA_CARDS)))
    return Question(
        load(draw(st.sampled_from(names or MODELS))), asked, parse_gpu(f"{card}:{max(layout.num_ranks, 1)}")
    )
