"""Heads that draft: their size beside published files, what they share with their target, their rows, their
release."""

import json
import shlex
from pathlib import Path
from typing import Any

import pytest

import oomless
from oomless.engines.command_line import command_words, read_command
from oomless.errors import OomlessError, UnsupportedError, UsageError
from oomless.ledger import Ledger
from oomless.model.attention import Sliding
from oomless.model.draft_head import DraftHead, assumed_head, model_of_head, published_head, read_head
from oomless.model.load import load
from oomless.model.model import EMBEDDING
from oomless.run.serving import serving_question
from oomless.speed.serving import ServingSpeed

HEAD = "yuhuili/EAGLE3-LLaMA3.1-Instruct-8B"
EAGLE3 = json.dumps({"method": "eagle3", "model": HEAD, "num_speculative_tokens": 3})
KIMI = "AQ-MedAI/Kimi-K2-Instruct-eagle3"
LLAMA_405B = DraftHead("eagle", 16384, 53248, 128, 8, 128, 0)
"""leptonai/EAGLE-Llama-3.1-405B-Instruct."""


def asked(model: str = "llama-3.1-8b", gpu: str = "h100", **flags: Any) -> Any:
    return oomless.infer(model, gpu, context=4096, offline=True, **flags)


def weights(ledger: Ledger) -> int:
    return sum(line.bytes for line in ledger.lines if line.category == "weights")


def of_key(answer: Any, key: str) -> list[int]:
    return [line.bytes for line in answer.ledger.lines if line.key == key]


@pytest.mark.parametrize(
    ("target", "head", "stores_embedding", "width", "published"),
    [
        ("llama-3.1-8b", published_head(HEAD), False, 2, 850e6),
        ("llama-2-13b", published_head("yuhuili/EAGLE3-Vicuna1.3-13B"), False, 2, 1.28e9),
        ("llama-3.1-8b", assumed_head(load("llama-3.1-8b"), "eagle"), True, 2, 1.55e9),
        ("llama-3.3-70b", assumed_head(load("llama-3.3-70b"), "eagle"), True, 2, 4.08e9),
        ("llama-2-70b", assumed_head(load("llama-2-70b"), "eagle"), True, 4, 5.01e9),
        ("llama-3.1-405b", LLAMA_405B, True, 2, 11.7e9),
    ],
)
def test_a_head_has_as_many_bytes_as_its_published_file(
    target: str, head: DraftHead, stores_embedding: bool, width: int, published: float
) -> None:
    """Sizes of the files on their pages: yuhuili/EAGLE3-LLaMA3.1-Instruct-8B and -Vicuna1.3-13B,
    EAGLE-LLaMA3-Instruct-8B and -70B, EAGLE-llama2-chat-70B (in F32), leptonai's for Llama-3.1-405B."""
    made = model_of_head(head, load(target), "head")
    stored = [
        each for each in made.tensors if not each.copy_of or (stores_embedding and each.name == EMBEDDING)
    ]
    assert sum(each.num_parameters for each in stored) * width == pytest.approx(published, rel=0.005)


def test_the_assumed_head_of_gpt_oss_is_the_published_one() -> None:
    """lmsys/EAGLE3-gpt-oss-120b-bf16: 0.9B values, with the embedding."""
    target = load("gpt-oss-120b")
    assert assumed_head(target, "eagle3") == published_head("lmsys/EAGLE3-gpt-oss-120b-bf16")
    made = model_of_head(assumed_head(target, "eagle3"), target, "head")
    assert sum(each.num_parameters for each in made.tensors) == pytest.approx(0.9e9, rel=0.02)


@pytest.mark.parametrize(("release", "embeddings"), [("0.8.5", 1), ("0.9.2", 0), ("0.19.0", 0)])
def test_a_head_shares_the_embedding_since_0_9(release: str, embeddings: int) -> None:
    """vllm#17326 saves 1 GB of Llama-3."""
    alone, both = (asked(engine_version=release, speculation=said) for said in (None, EAGLE3))
    head = 2 * 424_721_664 + 8 * 32_000
    added = weights(both.ledger) - weights(alone.ledger)
    assert added == pytest.approx(head + embeddings * 2 * 128_256 * 4096, rel=0.01)
    assert both.kv_cache.bytes_per_token - alone.kv_cache.bytes_per_token == 2 * 8 * 128 * 2


@pytest.mark.parametrize("engine", ["vllm", "sglang"])
@pytest.mark.parametrize(
    "model", ["deepseek-v3.2", "gpt-oss-120b", "gemma-3-27b", "qwen3-next-80b-a3b", "glm-4.6"]
)
def test_a_head_never_needs_less(model: str, engine: str) -> None:
    """Beside latents, windows, states and heads. SGLang keeps fewer states beside drafts, and tokens get what
    drafts of 48 requests leave (measured: GB300 with Qwen3.5 in tests/tables/starts/sglang_3.csv)."""
    said = json.dumps({"method": "eagle3" if engine == "vllm" else "EAGLE3", "model": "org/an-eagle3"})
    flags: dict[str, Any] = {"engine": engine, "tp": 8, "enforce_eager": True, "max_num_seqs": 48}
    before, after = (asked(model, "h200:8", speculation=word, **flags) for word in (None, said))
    assert weights(after.ledger) > weights(before.ledger)
    assert after.ledger.total_bytes > before.ledger.total_bytes
    assert after.kv_cache.bytes_per_token > before.kv_cache.bytes_per_token
    fewer = after.kv_cache.max_tokens < before.kv_cache.max_tokens
    assert fewer != (engine == "sglang" and model.startswith("qwen3-next"))


def test_stages_have_an_embedding_of_their_own_for_the_head() -> None:
    one, two = (asked(gpu="h100:2", speculation=EAGLE3, tp=tp, pp=pp) for tp, pp in ((2, 1), (1, 2)))
    of_embeddings = [
        sum("draft.model.embed_tokens" in line.formula for rank in each.estimate.ranks for line in rank.lines)
        for each in (one, two)
    ]
    assert of_embeddings == [0, 1]


def test_states_of_three_layers_live_through_the_profile_run() -> None:
    batch: dict[str, Any] = {"max_num_batched_tokens": 32_768, "max_num_seqs": 8, "engine_version": "0.19.0"}
    alone, both = (asked(speculation=said, **batch) for said in (None, EAGLE3))
    peak = [
        sum(line.bytes for line in each.ledger.lines if line.category in ("activations", "logits"))
        for each in (alone, both)
    ]
    assert peak[1] - peak[0] >= 3 * 32_768 * 4096 * 2
    assert of_key(both, "runtime.workspaces")[0] == 2 * 32_768 * 4096 * 2


def test_an_unknown_head_is_assumed_and_may_be_half_larger() -> None:
    known = asked(speculation=EAGLE3)
    other = asked(speculation='{"method": "eagle3", "model": "org/eagle3-of-mine"}')
    assert not any("is assumed" in note for note in known.warnings)
    assert any("org/eagle3-of-mine" in note and "is assumed" in note for note in other.warnings)
    line = next(line for line in other.ledger.lines if line.key == "weights.draft")
    assert (line.bytes, line.kind) == (0, "assumed")
    assert line.high_bytes == pytest.approx(424_721_664, rel=0.01)


def test_the_config_of_a_head_is_read(tmp_path: Path) -> None:
    layer = {
        "hidden_size": 6144,
        "intermediate_size": 16384,
        "num_attention_heads": 48,
        "model_type": "llama",
    }
    layer["num_key_value_heads"] = 8
    for number, values in enumerate(
        ({**layer, "draft_vocab_size": 32000}, {"transformer_layer_config": layer, "draft_vocab_size": 32000})
    ):
        folder = tmp_path / f"eagle3-{number}"
        folder.mkdir()
        (folder / "config.json").write_text(json.dumps(values))
        said = json.dumps({"method": "eagle3", "model": str(folder)})
        answer = asked("llama-3.3-70b", "h100:4", tp=4, speculation=said)
        assert answer.estimate.model.drafter.hidden_size == 6144
        # as wide as its target's 8192 it is not, so that its embedding is its own
        assert answer.estimate.model.parameters_of("mtp") > 128_256 * 6144


DFLASH_122B = {
    "architectures": ["DFlashDraftModel"],
    "hidden_size": 3072,
    "num_hidden_layers": 6,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "head_dim": 128,
    "intermediate_size": 9216,
    "dflash_config": {"mask_token_id": 1, "target_layer_ids": [1, 11, 22, 33, 44]},
}
"""z-lab/Qwen3.5-122B-A10B-DFlash, of its config.json."""


def test_dflash2_has_a_selector_beside_the_layers_and_a_window() -> None:
    """1.924 G values in BF16, 1.2 GB in W4A16 (facts/draft_heads.csv)."""
    target = load("qwen3.8-27b")
    for name, size in (("z-lab/Qwen3.8-27B-DFlash2", 3.85e9), ("syvai/Qwen3.8-27B-DFlash2-W4A16", 1.2e9)):
        head = published_head(name)
        assert head is not None
        made = model_of_head(head, target, name)
        own = [each for each in made.tensors if not each.copy_of]
        assert sum(each.num_parameters for each in own) == pytest.approx(1.924e9, rel=0.001)
        assert sum(each.num_bytes for each in own) == pytest.approx(size, rel=0.02)
        assert all(isinstance(layer.attention, Sliding) for layer in made.layers)
    several: dict[str, Any] = {"layer_types": ["sliding_attention"] * 6, "sliding_window": 2048}
    several["dflash_config"] = {"target_layer_ids": [1, 11], "selector_rank": 256}
    read = read_head({**DFLASH_122B, **several}, "dflash", "config")
    assert (read.window, read.rank, read.states) == (2048, 256, 2)
    several["layer_types"] = ["sliding_attention"] * 5 + ["full_attention"]
    assert read_head({**DFLASH_122B, **several}, "dflash", "config").window == 0


def test_a_dflash_head_is_layers_over_joined_states() -> None:
    """As z-lab publishes them, without embedding and output head: 1.05 B values for Qwen3-8B."""
    head = read_head(DFLASH_122B, "dflash", "config")
    assumed = assumed_head(load("qwen3.5-122b-a10b"), "dflash")
    assert head == assumed._replace(num_layers=6)
    target = load("qwen3.6-27b")
    made = model_of_head(assumed_head(target, "dflash"), target, "head")
    own = [each for each in made.tensors if not each.copy_of]
    assert {"model.fc.weight", "model.hidden_norm.weight"} < {each.name for each in own}
    assert sum(each.num_bytes for each in own) == pytest.approx(3.46e9, rel=0.002)
    said = json.dumps({"method": "dflash", "model": "z-lab/Qwen3.6-27B-DFlash", "num_speculative_tokens": 5})
    with pytest.raises(UnsupportedError, match="loads no dflash head"):
        asked("qwen3.6-27b", "h100", engine="vllm", engine_version="0.19.0", speculation=said)
    # noonghunna/club-3090#96 had 10.55 GiB
    flags: dict[str, Any] = {
        "tp": 2,
        "gpu_memory_utilization": 0.95,
        "max_model_len": 189000,
        "max_num_seqs": 1,
    }
    flags |= {"max_num_batched_tokens": 8192, "engine": "vllm", "engine_version": "0.20.1"}
    ran, seeing = (
        asked("qwen3.6-27b-autoround", "rtx-3090:2", speculation=said, **flags, **images)
        for images in ({"language_model_only": True}, {"images_per_prompt": 0})
    )
    assert ran.kv_cache.pool_bytes / 2**30 == pytest.approx(10.55, rel=0.04)
    assert of_key(seeing, "weights.vision")
    assert not of_key(ran, "weights.vision")  # no tower is loaded


@pytest.mark.parametrize(
    ("model", "size"), [("gemma-4-31B", 0.927e9), ("gemma-4-26B-A4B", 0.832e9), ("gemma-4-E2B", 0.151e9)]
)
def test_an_assistant_borrows_the_cache_and_scores_by_a_table_of_its_own(model: str, size: float) -> None:
    """Sizes of the files are those that noonghunna/club-3090 has."""
    said = json.dumps({"model": f"google/{model}-it-assistant", "num_speculative_tokens": 4})
    alone, drafted = (
        asked(model.lower(), "h100", engine_version="0.22.0", speculation=said) for said in (None, said)
    )
    assert weights(drafted.ledger) - weights(alone.ledger) == pytest.approx(size, rel=0.03)
    assert of_key(drafted, "kv_cache.needed") == of_key(alone, "kv_cache.needed")
    with pytest.raises(UnsupportedError):
        asked(model.lower(), engine_version="0.20.0", speculation=said)


def test_faults_of_a_head_are_named(tmp_path: Path) -> None:
    with pytest.raises(OomlessError, match="intermediate_size is missing"):
        read_head({"hidden_size": 4096, "num_attention_heads": 32}, "eagle3", "config.json")
    with pytest.raises(OomlessError, match="keeps latents"):
        read_head({"hidden_size": 7168, "kv_lora_rank": 512}, "eagle3", "config.json")
    with pytest.raises(OomlessError, match="no such file"):
        asked(speculation=json.dumps({"method": "eagle3", "model": str(tmp_path / "eagle3")}))
    with pytest.raises(UsageError, match="hidden size of 5,120"):
        asked(speculation='{"method": "eagle", "model": "yuhuili/EAGLE-llama2-chat-13B"}')


@pytest.mark.parametrize(
    ("engine", "release", "message"),
    [("vllm", "0.8.4", "loads no eagle3 head"), ("llamacpp", None, "with a head that drafts is not known")],
)
def test_engines_and_releases_that_load_no_head_say_so(
    engine: str, release: str | None, message: str
) -> None:
    with pytest.raises(UnsupportedError, match=message):
        asked(engine=engine, engine_version=release, speculation=EAGLE3)


def test_the_pool_is_divided_by_rows_of_the_target() -> None:
    """sglang's pool_configurator.py from 0.5.14 on: a head's row counts as one of the target's, and what it
    has more comes on top: keys and values of 8 heads of a rank, where layers of Kimi-K2 keep a latent."""
    said = json.dumps({"method": "EAGLE3", "model": KIMI, "num_speculative_tokens": 3})
    flags: dict[str, Any] = {
        "engine": "sglang",
        "tp": 8,
        "mem_fraction_static": 0.8,
        "engine_version": "0.5.16",
    }
    both = asked("kimi-k2", "b200:8", speculation=said, **flags)
    assert both.kv_cache.bytes_per_token == 62 * 576 * 2
    assert of_key(both, "kv_cache.copies") == [both.kv_cache.max_tokens * (2 * 8 * 128 * 2 - 576 * 2)]


@pytest.mark.parametrize(("release", "row"), [("0.5.17", 21 * 4096), ("0.5.18", 16 * 4096 + 20480)])
def test_sglang_drafts_by_dflash(release: str, row: int) -> None:
    """pool_configurator.py: five layers of 8 heads of 128 count as rows of the target until 0.5.17, whose 16
    layers of all tokens have 4 heads of 256; no ends of its own (models/dflash.py)."""
    said = json.dumps({"method": "DFLASH", "model": "org/Qwen3.8-27B-DFlash", "num_speculative_tokens": 7})
    flags: dict[str, Any] = {"engine": "sglang", "speculation": said, "kv_cache_dtype": "bfloat16"}
    found = asked("qwen3.8-27b", "h200", engine_version=release, **flags)
    assert found.kv_cache.bytes_per_token == row
    assert not any(of_key(found, "weights.draft"))
    with pytest.raises(UnsupportedError, match="loads no dflash head"):
        asked("qwen3.8-27b", "h200", engine_version="0.5.10.post1", **flags)


@pytest.mark.parametrize(
    ("target", "said", "ends"),
    [
        ("llama-3.1-8b", EAGLE3.replace("eagle3", "EAGLE3", 1), 1),  # it has an output head of its own
        ("qwen3.6-27b", "EAGLE", 2),
    ],
)
def test_ends_that_a_draft_lets_go_of_shrink_the_pool(target: str, said: str, ends: int) -> None:
    """sglang#36452: 2.54 GiB each of Qwen3.8-27B."""
    answer = asked(target, "h200", engine="sglang", engine_version="0.5.16", speculation=said)
    model = answer.estimate.model
    size = 2 * model.vocab_size * model.hidden_size
    assert of_key(answer, "weights.draft") == [ends * size]
    assert not of_key(
        asked(target, "h200", engine="sglang", engine_version="0.5.16", speculation=None), "weights.draft"
    )


@pytest.mark.parametrize(
    ("command", "head"),
    [
        (f"vllm serve m --speculative-config '{EAGLE3}'", "eagle3"),
        ('vllm serve m --speculative-config \'{"model": "yuhuili/EAGLE-LLaMA3-Instruct-8B"}\'', "eagle"),
        (
            "python3 -m sglang.launch_server --model m --speculative-algorithm EAGLE3 "
            f"--speculative-draft-model-path {HEAD}",
            "eagle3",
        ),
        (
            "python3 -m sglang.launch_server --model m --speculative-algo EAGLE --speculative-num-steps 3 "
            "--speculative-draft-model-path Tengyunw/qwen3_30b_moe_eagle3 --speculative-num-draft-tokens 4",
            "eagle3",
        ),
    ],
)
def test_commands_name_the_head(command: str, head: str) -> None:
    found = read_command(command).flags["speculation"]
    assert found.head == head


@pytest.mark.parametrize(
    ("model", "gpu", "flags"),
    [
        # sglang#19689 (2026-03-02), with AQ-MedAI/Kimi-K25-eagle3
        (
            "kimi-k2.5",
            "h200:8",
            {"engine": "sglang", "engine_version": "0.5.9", "tp": 8, "mem_fraction_static": 0.9},
        ),
        # sglang#4716 (2025-03-24)
        (
            "llama-3.3-70b",
            "h100:8",
            {"engine": "sglang", "engine_version": "0.4.4", "tp": 8, "cuda_graph_max_bs": 1},
        ),
        # datasets/aimosprite/inference-bench-results, eagle3_tree_validate: 1x H100, vLLM 0.17.1
        (
            "gpt-oss-120b",
            "h100",
            {
                "engine_version": "0.17.1",
                "kv_cache_dtype": "fp8",
                "gpu_memory_utilization": 0.94,
                "max_model_len": 32768,
            },
        ),
        # vllm-project/recipes#449 (2026-05-10), on one card of a GB300
        ("gpt-oss-120b", "gb300", {"engine_version": "0.20.0", "kv_cache_dtype": "fp8"}),
    ],
)
def test_what_ran_with_a_head_is_not_said_to_run_out(model: str, gpu: str, flags: dict[str, Any]) -> None:
    said = "AQ-MedAI/Kimi-K25-eagle3" if "kimi" in model else "an-eagle3-head"
    word = "EAGLE3" if flags.get("engine") else "eagle3"
    answer = asked(model, gpu, speculation=json.dumps({"method": word, "model": said}), **flags)
    assert answer.verdict != "does_not_fit"


def test_speed_counts_a_pass_of_the_head_for_each_token_that_it_drafts() -> None:
    said = {"method": "eagle3", "model": HEAD, "num_speculative_tokens": 3, "accepted_length": 2.4}
    plain = oomless.speed("llama-3.1-8b", "h100", offline=True)
    drafted = oomless.speed("llama-3.1-8b", "h100", offline=True, speculation=json.dumps(said))
    assert isinstance(plain.speed, ServingSpeed)
    assert isinstance(drafted.speed, ServingSpeed)
    part = next(part for part in drafted.speed.decode_parts if part.what == "drafts")
    assert 0 < part.seconds < plain.speed.tpot_s.value / 2
    assert plain.speed.tpot_s.value / 2.4 < drafted.speed.tpot_s.value < plain.speed.tpot_s.value


@pytest.mark.parametrize("said", [EAGLE3, json.dumps({"model": "qwen3-0.6b", "num_speculative_tokens": 5})])
@pytest.mark.parametrize("engine", ["vllm", "sglang"])
def test_what_drafts_comes_out_again_in_the_engines_own_words(engine: str, said: str) -> None:
    asked_for = serving_question(engine=engine, speculation=said)
    words = command_words(asked_for)
    program = "vllm serve m" if engine == "vllm" else "python3 -m sglang.launch_server --model-path m"
    found = read_command(f"{program} {shlex.join(words)}").flags["speculation"]
    wanted = asked_for.speculation
    assert wanted is not None
    assert (found.head, found.drafter, found.draft, found.tokens) == (
        wanted.head,
        wanted.drafter,
        wanted.draft,
        wanted.tokens,
    )


def test_a_head_of_other_rows_has_a_group_of_its_own() -> None:
    """Gemma-4-26B beside RedHatAI's head: 7.77 GiB hold 65,696 tokens, as 31 groups of a layer do (id
    52101499359); as six layers alike it were 54,000."""
    name = "RedHatAI/gemma-4-26B-A4B-it-speculator.eagle3"
    config = json.dumps({"method": "eagle3", "model": name, "num_speculative_tokens": 3})
    flags: dict[str, Any] = {"kv_cache_dtype": "fp8", "max_model_len": 98304}
    found = oomless.infer(
        "gemma-4-26b-a4b",
        "rtx-5090",
        engine_version="0.19.1",
        quantization="nvfp4",
        speculation=config,
        offline=True,
        **flags,
    )
    [line] = [line for line in found.ledger.lines if line.key == "kv_cache.needed"]
    assert "blocks of 65,536 B, 31 groups" in line.formula
