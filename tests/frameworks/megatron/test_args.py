"""Argument lists of Megatron-LM: three ways of writing them, defaults that are listed, and conflicts that are
named."""

import json
from typing import Any

import pytest

from command import call
from oomless.errors import UsageError
from oomless.frameworks.megatron.args import read_arguments
from oomless.frameworks.megatron.network import network
from oomless.frameworks.megatron.placement import chunks, expand
from oomless.frameworks.megatron.run import Megatron
from oomless.frameworks.megatron.source import environment, read_text

SMALL: dict[str, Any] = {
    "num-layers": 12,
    "hidden-size": 512,
    "num-attention-heads": 8,
    "seq-length": 1024,
    "micro-batch-size": 4,
    "global-batch-size": 32,
    "padded-vocab-size": 50304,
    "bf16": True,
}


def small(world_size: int = 8, **more: Any) -> Megatron:
    return read_arguments(
        {**SMALL, **{name.replace("_", "-"): value for name, value in more.items()}}, world_size
    )


def test_shell_json_and_yaml_say_the_same() -> None:
    shell = " ".join(f"--{name}" if value is True else f"--{name} {value}" for name, value in SMALL.items())
    yaml = "\n".join(f"{name.replace('-', '_')}: {str(value).lower()}" for name, value in SMALL.items())
    record = json.dumps({"args": {f"--{name}": value for name, value in SMALL.items()}})
    assert read_text(shell, "shell") == read_text(yaml, "yaml") == read_text(record, "json") == SMALL
    assert read_text(f"pretrain_bert.py {shell}", "shell")["model-family"] == "bert"


def test_a_script_with_arrays_and_variables_is_read() -> None:
    text = "TP=2\nARGS=(\n  --num-layers 12  # depth\n  --tensor-model-parallel-size $TP\n)\n"
    text += "torchrun --nnodes 2 pretrain_gpt.py ${ARGS[@]} \\\n  --bf16\n"
    assert read_text(text, "script") == {
        "num-layers": 12,
        "tensor-model-parallel-size": 2,
        "nnodes": 2,
        "model-family": "gpt",
        "bf16": True,
    }


def test_a_script_with_quoted_lists_is_read() -> None:
    text = (
        'TP=2\nGPT_ARGS="\n    --num-layers 12 \\\n    --tensor-model-parallel-size '
        '$TP\n"\ntorchrun pretrain_gpt.py $GPT_ARGS --bf16\n'
    )
    assert read_text(text, "script") == {
        "num-layers": 12,
        "tensor-model-parallel-size": 2,
        "model-family": "gpt",
        "bf16": True,
    }


def test_defaults_that_were_taken_are_listed_and_unread_arguments_are_warned_of() -> None:
    run = small(heterogeneous_layers_config_path="blocks.json", lr=1e-4)
    assert "hidden-dropout 0.1" in run.defaults
    assert "transformer-impl transformer_engine" in run.defaults
    assert [warning.split()[0] for warning in run.warnings] == ["--heterogeneous-layers-config-path"]


@pytest.mark.parametrize(
    ("more", "named"),
    [
        ({"tensor_model_parallel_size": 3}, ("num-attention-heads 8", "tensor-model-parallel-size 3")),
        ({"pipeline_model_parallel_size": 8, "num_layers": 12}, ("12", "8 pipeline stages")),
        (
            {"num_experts": 6, "expert_model_parallel_size": 4},
            ("num-experts 6", "expert-model-parallel-size 4"),
        ),
        ({"tensor_model_parallel_size": 4, "context_parallel_size": 4}, ("world size 8", "16")),
        ({"global_batch_size": 36}, ("global-batch-size 36", "32")),
        ({"num_experts": 4, "moe_router_topk": 5}, ("moe-router-topk 5", "num-experts 4")),
        ({"micro_batch_size": 0}, ("micro-batch-size", "0")),
        ({"num_layers": 10**9}, ("num-layers", "1000000000")),
        ({"num_experts": 10**9}, ("num-experts", "1000000000")),
        ({"seq_length": "long"}, ("seq-length", "long")),
        (
            {"pipeline_model_parallel_layout": "(((t*9999)*9999)*9999)"},
            ("pipeline-model-parallel-layout", "too long"),
        ),
        ({"num_experts": 4, "moe_layer_freq": "([0]*3+[1]*4)"}, ("7 layers", "12")),
    ],
)
def test_conflicts_name_both_values(more: dict[str, Any], named: tuple[str, str]) -> None:
    with pytest.raises(UsageError) as caught:
        chunks(small(**more))
    assert all(each in caught.value.message for each in named), caught.value.message


def test_recompute_activations_is_selective_with_its_default_module() -> None:
    """training/arguments.py sets --recompute-granularity selective, transformer_config.py core_attn."""
    run = small(recompute_activations=True)
    assert (run.recompute, run.recompute_modules) == ("selective", ("core_attn",))
    assert run == small(recompute_granularity="selective")._replace(defaults=run.defaults)


def test_a_file_of_its_own_tests_has_sections(tmp_path: Any) -> None:
    text = (
        "ENV_VARS:\n  CUBLAS_WORKSPACE_CONFIG: :4096:8\nBEFORE: |\n  pip install x\n"
        "MODEL_ARGS:\n  --bf16: true\n  --recompute-modules:\n    - mlp\n    - moe_act\nTEST_TYPE: regular\n"
    )
    arguments, env = environment(read_text(text, "yaml"))
    assert arguments == {"bf16": True, "recompute-modules": ["mlp", "moe_act"]}
    assert env == {"CUBLAS_WORKSPACE_CONFIG": ":4096:8"}


def test_layers_of_stages_sum_to_the_network() -> None:
    for more in (
        {"pipeline_model_parallel_size": 4},
        {"pipeline_model_parallel_size": 4, "num_layers_per_virtual_pipeline_stage": 1},
        {
            "pipeline_model_parallel_size": 4,
            "decoder_first_pipeline_num_layers": 2,
            "decoder_last_pipeline_num_layers": 4,
        },
        {"pipeline_model_parallel_size": 2, "pipeline_model_parallel_layout": "Et*3|(tt|)*4tL"},
    ):
        found = sorted(index for stage in chunks(small(**more)) for chunk in stage for index in chunk.layers)
        assert found == list(range(12)), more
    assert expand("E(tt|)*2mL") == ["Ett", "tt", "mL"]


def test_the_command_answers_for_every_stage(tmp_path: Any) -> None:
    path = tmp_path / "run.json"
    path.write_text(json.dumps({"args": {**SMALL, "pipeline-model-parallel-size": 4}}))
    answer = json.loads(
        call("train", "--megatron-args", str(path), "--world-size", "8", "--gpu", "h100:8", "--json").out
    )
    assert [rank["num_ranks"] for rank in answer["ranks"]] == [2, 2, 2, 2]
    assert answer["request"]["framework"] == "megatron-lm"
    assert answer["request"]["mesh"]["pp"] == 4
    for rank in answer["ranks"]:
        assert sum(line["bytes"] for line in rank["lines"]) == rank["total_bytes"]
    failed = call("train", "deepseek-v3", "--megatron-args", str(path))
    assert failed.code == 2
    assert not failed.out
    assert call("train", "--megatron-args", str(path), "--tp", "2").code == 2
    assert call("train", "--megatron-args", str(path / "none")).code == 1


def test_a_gate_is_counted_whatever_its_activation() -> None:
    """gpt-oss-20b as Megatron's own examples describe it: --quick-geglu doubles the first matrix of an
    expert, as --swiglu does."""
    text = (
        "--bf16 --untie-embeddings-and-output-weights --normalization RMSNorm --num-layers 24 "
        "--hidden-size 2880 --ffn-hidden-size 2880 "
        "--num-attention-heads 64 --group-query-attention --num-query-groups 8 --kv-channels 64 "
        "--num-experts 32 --moe-ffn-hidden-size 2880 "
        "--moe-router-topk 4 --seq-length 4096 --max-position-embeddings 4096 --padded-vocab-size "
        "201088 --position-embedding-type rope"
    )
    plain, gated = (
        network(read_arguments(read_text(text + more, "line"), 8)).num_parameters
        for more in ("", " --quick-geglu")
    )
    assert gated - plain == 24 * 32 * (2880 * 2880 + 2880)
    assert abs(gated - 20.91e9) < 0.01 * 20.91e9
    assert small(quick_geglu=True).ffn == 4 * 512
    assert small(swiglu=True).ffn < 4 * 512


def test_a_variable_that_has_a_value_of_its_own_where_nobody_sets_it() -> None:
    text = (
        'TP=${TP:-4}\nSEQ=${LENGTH:-2048}\nARGS="--tensor-model-parallel-size $TP --seq-length '
        '${SEQ} --num-layers ${LAYERS:-12} "\n'
    )
    assert read_text(text, "script") == {
        "tensor-model-parallel-size": 4,
        "seq-length": 2048,
        "num-layers": 12,
    }
    with pytest.raises(UsageError, match="--num-layers has no value"):
        read_arguments({**SMALL, **read_text("--num-layers $NOWHERE --bf16", "line")}, 8)
