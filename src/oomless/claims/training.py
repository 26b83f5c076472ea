"""Claims that the training estimate settles."""

from math import isqrt
from typing import Any

from ..estimate.training.activations import segments
from ..estimate.training.estimate import estimate_training
from ..estimate.training.micro_batch_work import work_of
from ..estimate.training.rank_group import RankGroup
from ..estimate.training.rank_portions import stages
from ..estimate.training.training_estimate import TrainingEstimate
from ..model.load import load
from ..run.hardware import parse_gpu
from ..run.serving import Asked
from ..run.training import Mesh, TrainingAsked
from ..units import gb, gib
from .evidence import Evidence, Finding
from .serving import on_one_card

SMALL, LARGE = "deepseek-coder-1.3b", "profile-deepseek-pro-13b"
BIG_CARD = "1000GiB"
"""A card on which nothing is too large: the claim is about shares."""


def train(model: str, gpu: str, *, tp: int = 1, **asked: Any) -> TrainingEstimate:
    """The training estimate; options under their own names."""
    return estimate_training(load(model), TrainingAsked(mesh=Mesh(tp=tp), **asked), parse_gpu(gpu))


def passing_share(group: RankGroup) -> float:
    """Activations and logits of all that is allocated when the loss runs back: the moment at which most of
    them are there."""
    found = group.at(
        next(phase for phase in group.phases if phase.name == "backward" and phase.moment == "in the loss")
    )
    return (found.get("activations", 0) + found.get("logits", 0)) / sum(found.values())


def share_at(model: str, tokens: int, **asked: Any) -> float:
    """The share for one sequence of so many tokens."""
    return passing_share(train(model, BIG_CARD, seq_len=tokens, **asked).groups[0])


def crossing(model: str, share: float, **asked: Any) -> int:
    """Fewest tokens a card, in steps of 64, at which activations reach a share."""
    low, high = 1, 1024
    while low < high:
        middle = (low + high) // 2
        if share_at(model, 64 * middle, **asked) >= share:
            high = middle
        else:
            low = middle + 1
    return 64 * low


def c03() -> Evidence:
    """At 1,024 tokens: depends on states a parameter and on tokens a card, not on the length alone."""
    figures = []
    for model in (SMALL, LARGE):
        for precision in ("bf16", "amp-bf16"):
            asked = {"precision": precision, "optimizer": "adamw-fused"}
            figures.append(
                Finding(
                    f"{model}, {precision}: share at 1,024 tokens, as the loss runs back",
                    round(100 * share_at(model, 1024, **asked), 1),
                    "%",
                )
            )
            for share in (0.4, 0.6):
                figures.append(
                    Finding(
                        f"{model}, {precision}: tokens a card for {share:.0%}",
                        crossing(model, share, **asked),
                        "tokens",
                    )
                )
    served = on_one_card(SMALL, "a100-80gb", Asked(engine_version="0.19.0", max_model_len=1024))
    by = served.ledger.by_category()
    held = by["weights"] + by.get("activations", 0)
    figures.append(
        Finding(
            "serving, 1,024 tokens: activations of weights and activations",
            round(100 * by.get("activations", 0) / held, 1),
            "%",
        )
    )
    return Evidence(
        "depends",
        "one sequence of 1,024 tokens stays below 40 % in training, since states are 8 to 16 B a "
        "parameter; the share grows with the "
        "tokens of a micro-batch and passes through 40 and 60 % at the figures below; in "
        "serving activations are a few per cent. Worked out, the share is that of the moment at which the "
        "loss runs back; traced, that of the step's peak, with autocast's copies of weights among "
        "activations (the 13B version's peak at 1,024 tokens is the optimizer's step, which has none)",
        tuple(figures),
        (f"oomless train {SMALL} --gpu 80GiB --precision bf16 --seq-len 1024 --json",),
    )


def c04() -> Evidence:
    """Half precision: weights and activations halve, training states under autocast do not."""
    figures = []
    for precision in ("fp32", "amp-bf16", "bf16"):
        found = train(SMALL, "80GiB", precision=precision, optimizer="adamw-fused", seq_len=1024)
        states = sum(line.bytes for line in found.groups[0].states.lines)
        figures.append(Finding(f"{precision}: states", states / found.model.num_parameters, "B a parameter"))
        figures.append(Finding(f"{precision}: peak", gib(found.peaks.allocated_bytes), "GiB"))
    model = load(SMALL)
    figures.append(Finding("weights for inference, F32 and BF16", gib(4 * model.num_parameters), "GiB"))
    figures.append(Finding("weights for inference, BF16", gib(2 * model.num_parameters), "GiB"))
    return Evidence(
        "depends",
        "for inference weights halve; in training autocast keeps F32 weights, gradients and "
        "moments (16 B a parameter, as F32 does) and "
        "adds cast copies, so that one sequence saves nothing; pure BF16 (8 B) halves",
        tuple(figures),
        tuple(
            f"oomless train {SMALL} --gpu 80GiB --precision {name} --seq-len 1024 --json"
            for name in ("fp32", "amp-bf16", "bf16")
        ),
    )


def layers_kept(found: TrainingEstimate) -> int:
    """Most bytes of activations: what all layers keep but the running segment, and that segment."""
    stage = stages(len(found.model.layers), found.mesh)[0]
    all_segments = segments(found.job, work_of(found.job), stage)
    kept = sum(segment.saved for segment in all_segments)
    return max(kept - segment.saved + segment.backward_peak for segment in all_segments)


def c06() -> Evidence:
    """Checkpointing: each layer's input is O(n) with a small constant; segments of sqrt(n) layers are O(sqrt
    n) and larger here."""
    asked: dict[str, Any] = {"precision": "bf16", "seq_len": 2048, "micro_batch": 1}
    layers = len(load(LARGE).layers)
    every = isqrt(layers)
    plain = layers_kept(train(LARGE, BIG_CARD, recompute="none", **asked))
    each = layers_kept(train(LARGE, BIG_CARD, recompute="full", **asked))
    root = layers_kept(train(LARGE, BIG_CARD, recompute="full", recompute_every=every, **asked))
    small = load(LARGE).hidden_size * 2048 * 2
    one = plain / layers
    many = 4096
    return Evidence(
        "depends",
        f"what frameworks do keeps the input of each of n layers: n x {gib(small):.3f} GiB and one "
        f"layer's {gib(round(one)):.2f} GiB, which "
        "is O(n); segments of sqrt(n) layers (Chen et al.) keep sqrt(n) inputs and sqrt(n) whole "
        f"layers, which at {layers} layers is "
        "more than inputs alone, and less only from n = "
        f"{round((one / small) ** 2):,} layers on. A second forward is a third of the step's "
        "products: 33 % by formula, 15 to 27 % measured",
        (
            Finding("nothing computed again", gib(plain), "GiB"),
            Finding("every layer's input kept", gib(each), "GiB"),
            Finding(f"segments of {every} layers", gib(root), "GiB"),
            Finding(f"{many} layers, every input", gib(round(many * small + one)), "GiB"),
            Finding(
                f"{many} layers, segments of {isqrt(many)}", gib(round(isqrt(many) * (small + one))), "GiB"
            ),
            Finding("more products", 1 / 3, ""),
        ),
        (
            f"oomless train {LARGE} --gpu {BIG_CARD} --precision bf16 --seq-len 2048 --recompute full --json",
            f"oomless train {LARGE} --gpu {BIG_CARD} --precision bf16 --seq-len 2048 --recompute "
            f"full --recompute-every {every} --json",
        ),
    )


def c12() -> Evidence:
    """13B over four A100 with ZeRO-3: a quarter of 16 B a parameter, and what is gathered."""
    figures = []
    zero: dict[str, Any] = {"framework": "deepspeed", "sharding": "zero3"}
    ways: tuple[tuple[str, dict[str, Any]], ...] = (
        ("ZeRO-3, AdamW in F32 (16 B a parameter)", zero),
        ("FSDP2, pure BF16 (8 B)", {"sharding": "fsdp2", "precision": "bf16"}),
        ("ZeRO-3, F32 optimizer on the host", zero | {"offload": ("optimizer",)}),
    )
    for name, asked in ways:
        found = train(LARGE, "a100-80gb:4", seq_len=2048, recompute="full", **asked)
        held = sum(line.bytes for line in found.groups[0].states.lines)
        figures.append(Finding(f"{name}: states a card", gb(held), "GB"))
        figures.append(Finding(f"{name}: peak a card", gb(found.peaks.allocated_bytes), "GB"))
    return Evidence(
        "does not hold",
        "13.0e9 x 16 B / 4 is 52 GB a card before activations, and DeepSpeed's engine keeps F32 states "
        "whatever the type; 28 GB is near pure BF16, which FSDP can train (26 GB of states)",
        tuple(figures),
        tuple(
            f"oomless train {LARGE} --gpu a100-80gb:4 {way} --seq-len 2048 --recompute full --json"
            for way in (
                "--framework deepspeed --zero 3",
                "--fsdp --precision bf16",
                "--framework deepspeed --zero 3 --offload optimizer",
            )
        ),
    )


def c14() -> Evidence:
    """Partitioned activations: the kept inputs of layers are cut over tensor-parallel ranks."""
    model = load(LARGE)
    tp, seq = 4, 2048
    asked: dict[str, Any] = {
        "framework": "deepspeed",
        "precision": "bf16",
        "sharding": "zero1",
        "tp": tp,
        "seq_len": seq,
        "recompute": "full",
    }
    figures = []
    for batch in (4, 8, 16):
        whole = train(LARGE, "a100-80gb:4", micro_batch=batch, **asked).peaks.allocated_bytes
        cut = train(
            LARGE, "a100-80gb:4", micro_batch=batch, partition_activations=True, **asked
        ).peaks.allocated_bytes
        figures.append(Finding(f"micro-batch {batch}: whole", gb(whole), "GB"))
        figures.append(Finding(f"micro-batch {batch}: partitioned", gb(cut), "GB"))
    a_token = len(model.layers) * model.hidden_size * 2 * (tp - 1) // tp
    figures.append(Finding("saved a token", a_token, "B"))
    figures.append(Finding("tokens at which 6 GB are saved", round(6e9 / a_token), "tokens"))
    return Evidence(
        "depends",
        f"layers x width x 2 B x (1 - 1/{tp}) a token: 6 GB are {round(6e9 / a_token):,} tokens a "
        "micro-batch of the 13B version; what it "
        "saves is all of the kept inputs but a share, and nothing else",
        tuple(figures),
        (
            f"oomless train {LARGE} --gpu a100-80gb:4 --framework deepspeed --zero 1 --tp {tp} "
            "--precision bf16 --micro-batch 8 "
            f"--seq-len {seq} --recompute full --partition-activations --json",
        ),
    )


def c35() -> Evidence:
    """From 1.3B to 13B: weights and states grow with parameters, activations with layers x width, the cache
    with layers x heads."""
    small, large = load(SMALL), load(LARGE)
    asked: dict[str, Any] = {"precision": "bf16", "seq_len": 2048, "micro_batch": 1}
    ends = [train(name, BIG_CARD, **asked) for name in (SMALL, LARGE)]
    states = [sum(line.bytes for line in each.groups[0].states.lines) for each in ends]
    kept = [layers_kept(each) for each in ends]
    served = [
        on_one_card(name, "h200", Asked(engine_version="0.19.0", max_model_len=2048))
        for name in (SMALL, LARGE)
    ]
    cache = [each.kv_cache.bytes_per_token for each in served]
    parameters = large.num_parameters / small.num_parameters
    return Evidence(
        "holds",
        f"parameters grow {parameters:.1f} times and so do weights and states; activations "
        "and cache grow with layers x width, "
        f"{cache[1] / cache[0]:.1f} times, so that the whole grows less than parameters and "
        "the less the longer the sequence",
        (
            Finding("parameters", parameters, "times"),
            Finding("training states", states[1] / states[0], "times"),
            Finding("activations kept", kept[1] / kept[0], "times"),
            Finding("cache a token", cache[1] / cache[0], "times"),
            Finding(
                "peak of training at 2,048 tokens",
                ends[1].peaks.allocated_bytes / ends[0].peaks.allocated_bytes,
                "times",
            ),
        ),
        tuple(
            f"oomless train {name} --gpu {BIG_CARD} --precision bf16 --seq-len 2048 --json"
            for name in (SMALL, LARGE)
        ),
    )


SETTLERS = {"C03": c03, "C04": c04, "C06": c06, "C12": c12, "C14": c14, "C35": c35}
