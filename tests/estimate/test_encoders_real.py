"""Contrastive training of encoders against transformers' own classes on this machine's CPU: what autograd
keeps of a step, and the most that is alive in forward and backward."""

from collections.abc import Callable
from typing import Any

import pytest

from estimate.memory import phase, recorded
from oomless.estimate.training.activations import segments
from oomless.estimate.training.estimate import estimate_training, job_of
from oomless.estimate.training.head_and_loss import ends
from oomless.estimate.training.micro_batch_work import work_of
from oomless.estimate.training.rank_portions import stages
from oomless.model.families import build
from oomless.run.hardware import parse_gpu
from oomless.run.training import Mesh, TrainingAsked

pytestmark = pytest.mark.torch
torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

SIZES: dict[str, Any] = {
    "hidden_size": 256,
    "intermediate_size": 1024,
    "num_attention_heads": 4,
    "num_hidden_layers": 3,
    "vocab_size": 1000,
    "max_position_embeddings": 514,
    "pad_token_id": 0,
    "hidden_dropout_prob": 0.0,
    "attention_probs_dropout_prob": 0.0,
}
CLASSES = {
    "bert": ("BertModel", {"type_vocab_size": 2}),
    "xlm-roberta": ("XLMRobertaModel", {"type_vocab_size": 1}),
    "nomic_bert": ("NomicBertModel", {"type_vocab_size": 2}),
    "modernbert": ("ModernBertModel", {"local_attention": 128, "global_attn_every_n_layers": 3}),
}
QUERIES, LENGTH = 4, 256
ASKED = TrainingAsked(
    framework="fsdp",
    precision="fp32",
    optimizer="adamw-loop",
    sharding="none",
    recompute="none",
    loss="contrastive",
    micro_batch=QUERIES,
    seq_len=LENGTH,
    negatives=1,
)
CASES = [(family, kernel) for family in CLASSES for kernel in ("sdpa", "eager")]


def network(family: str, kernel: str) -> Any:
    name, more = CLASSES[family]
    values = {**SIZES, **more, "attn_implementation": kernel}
    config = transformers.AutoConfig.for_model(family, **values)
    torch.manual_seed(0)
    return getattr(transformers, name)(config).train()


def loss_of(model: Any) -> Any:
    """Queries, their passages and a hard negative each, as one batch with padding; means of sequences, and
    the cross-entropy of similarities."""
    ids = torch.randint(5, 1000, (3 * QUERIES, LENGTH))
    mask = torch.ones_like(ids)
    mask[0, -3:] = 0
    states = model(input_ids=ids, attention_mask=mask).last_hidden_state
    wide = mask.unsqueeze(-1).expand(states.size()).to(states.dtype)
    vectors = torch.nn.functional.normalize((states * wide).sum(1) / wide.sum(1), dim=-1)
    scores = vectors[:QUERIES] @ vectors[QUERIES:].T * 20
    return torch.nn.functional.cross_entropy(scores, torch.arange(QUERIES))


def kept(model: Any, act: Callable[[], Any]) -> int:
    """Bytes of storages that autograd keeps, weights left out."""
    weights = {each.untyped_storage().data_ptr() for each in model.parameters()}
    found: dict[int, int] = {}
    alive = []

    def pack(tensor: Any) -> Any:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            found[storage.data_ptr()] = storage.nbytes()
        alive.append(tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        alive.append(act())
    return sum(found.values())


def ours(family: str, kernel: str) -> tuple[Any, TrainingAsked]:
    name, more = CLASSES[family]
    model = build({**SIZES, **more, "model_type": family, "architectures": [name]}, family, family)
    return model, ASKED._replace(attention="efficient" if kernel == "sdpa" else "eager")


@pytest.mark.parametrize(("family", "kernel"), CASES)
def test_what_is_kept_for_the_backward(family: str, kernel: str) -> None:
    """Layers to the byte; ids, masks of tokens and vectors are less than 1 %."""
    model, asked = ours(family, kernel)
    job = job_of(model, asked, parse_gpu("a100-80gb"))
    work = work_of(job)
    layers = segments(job, work, stages(len(model.layers), Mesh(dp=1))[0])
    predicted = sum(each.saved for each in layers) + ends(job, work).saved
    real = network(family, kernel)
    assert predicted == pytest.approx(kept(real, lambda: loss_of(real)), rel=0.01)


@pytest.mark.parametrize("family", ["bert", "modernbert"])
def test_the_most_that_is_alive(family: str) -> None:
    model, asked = ours(family, "sdpa")
    group = estimate_training(model, asked, parse_gpu("a100-80gb")).groups[0]
    weights = sum(line.bytes for line in group.states.lines if line.category == "weights")
    predicted = {
        each.name: each.total_bytes for each in sorted(group.phases, key=lambda each: each.total_bytes)
    }

    def act() -> None:
        real = network(family, "sdpa")
        with phase("forward"):
            loss = loss_of(real)
        with phase("backward"):
            loss.backward()

    found = recorded(act)
    for name in ("forward", "backward"):
        assert predicted[name] == pytest.approx(found[name] - weights, rel=0.04), name
