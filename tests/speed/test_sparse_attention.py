"""Attention behind an indexer, as whole layers of it were measured."""

import pytest

from oomless.model.attention import MLA, V4
from oomless.model.load import load
from oomless.run.hardware import parse_gpu
from oomless.speed.attention_cache import cache_of
from oomless.speed.attention_work import prompt_flops
from oomless.speed.forward import forward
from oomless.speed.load import Load, Runner, Split
from oomless.speed.machine import machine_of
from oomless.speed.network import Network, of_tensors

ELSEWHERE = ("host", "collectives", "launches", "streams")
"""Parts of a pass that do not lie in a layer of attention."""


def attention_alone(name: str) -> Network:
    model = load(name)
    inside = tuple(each for each in model.tensors if each.part == "main" and "attn." in each.name)
    net = of_tensors(model, inside)
    kinds = tuple((kind, num) for kind, num in net.kinds if kind not in ("dense", "moe", "shared"))
    return net._replace(experts=(), kinds=kinds)


MEASURED = [
    ("deepseek-v3.2", "b200", 1, 0, 2048, 714),
    ("deepseek-v3.2", "b200", 8, 0, 4096, 1428),
    ("deepseek-v3.2", "b200", 8, 0, 16384, 6249),
    ("deepseek-v3.2", "b200", 1, 1, 1024, 106),
    ("deepseek-v3.2", "b200", 8, 1, 1024, 64),
    ("deepseek-v3.2", "h200", 8, 0, 4096, 2933),
    ("deepseek-v3.2", "h200", 8, 1, 1024, 70),
    ("deepseek-v3.2", "h200", 8, 128, 1024, 138),
    ("deepseek-v4-flash", "b200", 1, 0, 4096, 1163),
    ("deepseek-v4-flash", "b200", 4, 0, 4096, 882),
    ("deepseek-v4-flash", "b200", 4, 1, 1024, 60),
    ("deepseek-v4-flash", "b200", 4, 32, 1024, 80),
    ("deepseek-v4-flash", "h200", 1, 0, 4096, 1988),
    ("deepseek-v4-flash", "h200", 4, 0, 4096, 1240),
    ("deepseek-v4-flash", "h200", 4, 1, 1024, 68),
]
"""Model, card, ranks, sequences that get a token (0: a prompt), length, microseconds of a layer under SGLang
0.5.14: dsa_*_module_perf, and the mean of dsv4_csa_* and dsv4_hca_*, of aiconfigurator-core 0.12.0."""


@pytest.mark.parametrize(("model", "gpu", "ranks", "sequences", "length", "measured"), MEASURED)
def test_a_layer_takes_what_it_was_measured_to_take(
    model: str, gpu: str, ranks: int, sequences: int, length: int, measured: float
) -> None:
    net = attention_alone(model)
    prompt = 0 if sequences else length
    load_ = Load(sequences, length if sequences else 0, prompt, prompt)
    run = Runner("sglang", frozenset(("captured",)))
    found = forward(net, machine_of(parse_gpu(gpu).card), Split(tp=ranks), run, load_)
    seconds = sum(part.seconds for part in found.parts if part.what not in ELSEWHERE)
    assert seconds / net.num_layers * 1e6 == pytest.approx(measured, rel=0.35)


def test_more_of_a_prompt_never_computes_less_but_where_the_indexer_begins_to_choose() -> None:
    sparse = cache_of(load("deepseek-v3.2").layers[-1].attention)
    assert sparse.dense_flops == cache_of(MLA(128, 1536, 512, 128, 64, 128)).prefill_flops
    for lengths in ((16, 512, 2048), (2049, 4096, 65536, 131072)):
        found = [prompt_flops(sparse, length, 8) for length in lengths]
        assert found == sorted(found)


def test_a_layer_without_indexer_has_none() -> None:
    csa, hca = (cache_of(V4(64, 512, 64, 1024, 8, 1024, 128, ratio, 64, 128, 512)) for ratio in (4, 128))
    assert csa.index_flops > 0 == hca.index_flops
    assert hca.index_bytes == hca.limit == 0
