"""An option's name stands in the table of options and in the record of its engine or framework; beside those
in two places at most, its field in the question and one that gives it its meaning. Those that stand in more
are listed with the reason."""

import ast
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import oomless
from oomless.run.options import asked_of

SOURCE = Path(oomless.__file__).parent
OWN = ("facts", "engines", "frameworks")
"""The table of options, and those who know an option."""
FEW = 2

QUESTION = """
    model gpu engine engine_version revision offline hf_overrides dtype quantization tp pp dp
    context concurrency instances max_model_len max_num_seqs
    method optimizer precision framework framework_version seq_len micro_batch grad_accum global_batch
    sharding zero cp ep etp
"""
"""What every question is made of: each room reads it for a purpose of its own."""
WORDS = """
    loss adapter task schedule kernels packed attention offload reserve fit fsdp engram dropout products
    pooling
"""
"""Ordinary words: most of the places mean something else."""
LOGGED = """
    gpu_memory_utilization mem_fraction_static max_num_batched_tokens enforce_eager block_size
    enable_prefix_caching enable_lora max_loras max_lora_rank cpu_offload_gb speculation
    n_gpu_layers ubatch_size flash_attn kv_unified mla_attn attn_max_batch cache_type_k cache_type_v
    enable_expert_parallel num_redundant_experts rope_scaling offload_layers language_model_only
"""
"""A word of logs and a column of measured rows, which truth/ reads and writes."""
PACE = "enable_dp_attention ep_size n_cpu_moe cpu_moe kt_num_gpu_experts override_tensor"
"""It divides or moves work, so that the models of speed, the search and the kernels that were measured ask
for it."""
OF_IMAGES = "max_pixels"
"""Serving and training ask it of the same rule, model/images.py."""
WITHOUT_EFFECT = "images_per_prompt"
"""A note says where it changes nothing."""
STEP = """
    recompute recompute_every recompute_modules recompute_num_layers sequence_parallel virtual_stages
    lora_rank lora_targets partition_activations optimizer_in_backward activation_bits mtp_layers
    trained_ends trained_layers trained_tower count_ends shard_size keep_gathered adapter_dtype
    adapter_products expert_imbalance packed_experts data_workers use_reentrant reduce_bucket_size
    overlap_comm gradient_bucket_view expandable_segments query_len tiled_mlp
"""
"""A part of a training step: its memory, its time and its trace are three formulas."""
MODELS_BESIDE = "reward_model value_model"
"""A model of its own, which is loaded before the question is put."""

MORE = frozenset(
    " ".join((QUESTION, WORDS, LOGGED, PACE, OF_IMAGES, WITHOUT_EFFECT, STEP, MODELS_BESIDE)).split()
)


def words_of(path: Path) -> Iterator[str]:
    """Yield what a file names: attributes, keywords, fields, and texts that are one word."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        match node:
            case (
                ast.Constant(value=str() as word) | ast.Attribute(attr=word) | ast.keyword(arg=str() as word)
            ):
                yield word
            case ast.AnnAssign(target=ast.Name(id=word)):
                yield word


@cache
def places() -> dict[str, tuple[str, ...]]:
    """Option -> the files that name it, outside of the table and of the records."""
    fields = {option.field for command in ("infer", "train") for option in asked_of(command)}
    fields.add("draft_tokens")  # of --speculative-config
    found: dict[str, set[str]] = defaultdict(set)
    for path in sorted(SOURCE.rglob("*.py")):
        where = path.relative_to(SOURCE)
        if where.parts[0] not in OWN:
            for word in fields.intersection(words_of(path)):
                found[word].add(where.as_posix())
    return {word: tuple(sorted(files)) for word, files in found.items()}


def test_an_option_is_named_in_few_places() -> None:
    many = {word: files for word, files in places().items() if len(files) > FEW and word not in MORE}
    assert not many, "resolve it in one place, and hand on what it means"


def test_what_is_listed_is_in_many_places() -> None:
    few = sorted(word for word in MORE if len(places().get(word, ())) <= FEW)
    assert not few, "take them out of the lists"


def test_the_options_that_were_in_a_dozen_places() -> None:
    counted = {word: len(places().get(word, ())) for word in ("kv_cache_dtype", "dcp", "draft_tokens")}
    assert max(counted.values()) <= FEW, counted
