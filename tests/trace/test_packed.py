"""Traces of QLoRA: the storage of packed matrices, what their products keep, and the closed form beside
them."""

from typing import Any

import pytest
from families import small

from oomless.errors import UnsupportedError
from oomless.estimate.training.state_bytes import packed_bytes
from oomless.frameworks.defaults import resolved
from oomless.run.tracing import Prompt, Tracing
from oomless.run.training import Mesh, TrainingAsked

pytest.importorskip("torch")
pytest.importorskip("transformers")
pytest.importorskip("peft")

import torch

from oomless.api.trace import closed_form
from oomless.api.trace import trace as trace_by_name
from oomless.trace.build import ModelSource, build_model
from oomless.trace.check import compare, measured
from oomless.trace.models import quiet
from oomless.trace.packed import packed_class
from oomless.trace.run import trace

pytestmark = pytest.mark.torch

TABLES = {"nf4": 64, "nf4-dq": 64 + 1024 + 4}
"""Bytes of the tables of a matrix, and of the mean of its scales: bitsandbytes 0.50 keeps them with each, the
closed form leaves them out."""


def bytes_of(module: Any) -> int:
    return sum(each.untyped_storage().nbytes() for each in (module.weight, *module.buffers()))


@pytest.mark.parametrize("how", ["nf4", "nf4-dq"])
@pytest.mark.parametrize("shape", [(96, 160), (3584, 512), (1024, 4096)])
def test_storage(how: str, shape: tuple[int, int]) -> None:
    linear = torch.nn.Linear(*shape, device="meta")
    layer = packed_class()(linear, how == "nf4-dq", torch.bfloat16)
    assert bytes_of(layer) == packed_bytes(shape[0] * shape[1], how) + TABLES[how]


def test_known_storage() -> None:
    """What bitsandbytes 0.50.2 held of these matrices, double quantised."""
    known = {(96, 160): 9_016, (3584, 512): 947_716, (1024, 4096): 2_164_804}
    for (outputs, inputs), num_bytes in known.items():
        layer = packed_class()(torch.nn.Linear(inputs, outputs, device="meta"), True, torch.bfloat16)
        assert bytes_of(layer) == num_bytes


def test_what_is_packed() -> None:
    asked = resolved(
        TrainingAsked(method="qlora", precision="bf16", lora_rank=8, lora_targets=("all-linear",), seq_len=32)
    )
    model = build_model(ModelSource("deepseek_v3", small("deepseek_v3")), asked, None)
    packed = packed_class()
    names = {name.rpartition(".")[2] for name, module in model.named_modules() if isinstance(module, packed)}
    assert "q_a_proj" not in names
    assert names == {
        "base_layer",
        "gate_proj",
        "up_proj",
        "down_proj",
    }  # shared experts have no adapters: peft adapts stacks as one
    assert type(model.get_output_embeddings()) is torch.nn.Linear
    experts = [
        parameter
        for name, parameter in model.named_parameters()
        if name.endswith("gate_up_proj") and "lora" not in name
    ]
    assert experts
    assert all(each.dtype is torch.bfloat16 and not each.requires_grad for each in experts)
    assert all("lora" in name for name, each in model.named_parameters() if each.requires_grad)


@pytest.mark.parametrize("precision", ["bf16", "amp-bf16"])
@pytest.mark.parametrize("recompute", ["none", "full"])
def test_a_real_step_of_the_same_modules(precision: str, recompute: Any) -> None:
    asked = resolved(
        TrainingAsked(
            method="qlora",
            precision=precision,
            recompute=recompute,
            optimizer="adamw",
            lora_rank=8,
            lora_targets=("q_proj", "up_proj"),
            micro_batch=2,
            seq_len=64,
        )
    )
    source = ModelSource("qwen2", small("qwen2"))
    traced = trace(source, Tracing("train", asked, Prompt(), "cpu"), {})
    with quiet():
        assert abs(compare(traced, measured(source, asked))[-1].error or 0) <= 0.001


@pytest.mark.slow
@pytest.mark.parametrize("recompute", ["none", "full"])
def test_closed_form(recompute: str) -> None:
    flags: dict[str, Any] = {
        "method": "qlora",
        "precision": "bf16",
        "optimizer": "adamw",
        "lora_rank": 16,
        "lora_targets": ("all-linear",),
        "recompute": recompute,
        "seq_len": 2048,
    }
    name = "deepseek-r1-distill-qwen-7b"
    traced = trace_by_name(name, "h100", **flags)
    peak = next(row for row in closed_form(name, traced, flags) if row.key == "peak")
    assert abs(peak.error or 0) <= 0.01


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"quantization": "int8"}, "--quantization int8"),
        ({"adapter": "dora"}, "--adapter dora"),
        ({"sharding": "fsdp2"}, "packed weights over ranks"),
    ],
)
def test_what_is_refused(change: dict[str, Any], named: str) -> None:
    asked = resolved(TrainingAsked(method="qlora", seq_len=32, **change))
    with pytest.raises(UnsupportedError, match=named):
        Tracing("train", asked, Prompt(), "auto", mesh=Mesh(dp=1)).check()


@pytest.mark.slow
@pytest.mark.parametrize("method", ["lora", "qlora"])
def test_copies_of_frozen_weights_go_with_their_layer(method: str) -> None:
    """The region of autocast keeps copies of trained weights alone: with recomputation a layer's frozen ones
    are alive at once."""
    flags: dict[str, Any] = {
        "method": method,
        "precision": "amp-bf16",
        "optimizer": "adamw",
        "lora_rank": 16,
        "lora_targets": ("all-linear",),
        "recompute": "full",
        "seq_len": 2048,
    }
    traced = trace_by_name("deepseek-coder-1.3b", "h100", **flags)
    peak = next(row for row in closed_form("deepseek-coder-1.3b", traced, flags) if row.key == "peak")
    assert abs(peak.error or 0) <= 0.01
