"""Argument files as people write them: arrays on one line, arithmetic, variables, YAML with quotes, anchors
and lists."""

import pytest

from oomless.errors import OomlessError
from oomless.frameworks.megatron.args import read_arguments
from oomless.frameworks.megatron.shell import MAX_SUBSTITUTIONS, read_shell, substituted
from oomless.frameworks.megatron.source import read_text
from oomless.run.shell_arithmetic import calculated

LINE = "--num-layers 12 --hidden-size 512 --num-attention-heads 8 --seq-length 1024 --micro-batch-size 4"
LINE += " --global-batch-size 32 --padded-vocab-size 50304 --bf16"


def test_arrays_on_one_line_lose_no_argument() -> None:
    text = (
        "MODEL_PARALLEL_ARGS=(--tensor-model-parallel-size 4 --pipeline-model-parallel-size 2 "
        f"--use-distributed-optimizer)\nGPT_ARGS=({LINE})\n"
        "torchrun pretrain_gpt.py ${MODEL_PARALLEL_ARGS[@]} ${GPT_ARGS[@]}\n"
    )
    found = read_text(text, "script")
    assert found["tensor-model-parallel-size"] == 4
    assert found["use-distributed-optimizer"] is True
    run = read_arguments(found, 8)
    assert (run.tp, run.pp, run.distributed, len(run.kinds)) == (4, 2, True, 12)
    assert not run.warnings


def test_a_word_that_ends_an_array_does_not_swallow_the_next() -> None:
    text = (
        "ARGS=(\n  --recompute-granularity selective\n"
        "  --recompute-modules mla_up_proj moe_act layernorm\n)\n"
        "torchrun --nproc-per-node 8 pretrain_gpt.py ${ARGS[@]}\nwait\n"
    )
    for script in (text, text.replace("\n  ", " ").replace("layernorm\n)", "layernorm)")):
        found = read_text(script, "script")
        assert found["recompute-modules"] == ["mla_up_proj", "moe_act", "layernorm"], script
        assert found["nproc-per-node"] == 8


def test_the_end_of_a_command_ends_its_last_argument() -> None:
    text = "torchrun pretrain_gpt.py --bf16 --recompute-modules core_attn mlp  # both\nwait\necho done\n"
    assert read_text(text, "script")["recompute-modules"] == ["core_attn", "mlp"]
    assert read_text("--num-layers 12\n--recompute-modules\n  mlp\n", "file")["recompute-modules"] == "mlp"


def test_arithmetic_is_evaluated() -> None:
    text = (
        "EP=8\nFFN=$((2 * 1408))\nGPUS_PER_NODE=8\nWORLD=$((GPUS_PER_NODE * ${NNODES:-4}))\n"
        "ARGS=(--moe-ffn-hidden-size $((1408)) --ffn-hidden-size $FFN --world-size ${WORLD}\n"
        "  --seq-length $(( (EP + 1) * 1024 % 8192 )) --x $((-7 / 2)))\n"
    )
    found = read_text(text, "script")
    assert found["moe-ffn-hidden-size"] == 1408
    assert found["ffn-hidden-size"] == 2816
    assert found["world-size"] == 32
    assert found["seq-length"] == 1024
    assert found["x"] == -3


@pytest.mark.parametrize(
    "expression",
    [
        "2 ** 99",
        "__import__('os')",
        "a.b",
        "1 if 1 else 2",
        "9" * 300,
        "1 << 3",
        "1 / 0",
        "10**9" * 3,
        "'a' * 9",
        "True + 1",
        "1.5 * 2",
        "999999999999999 * 999999999999999 * 999999999999999",
    ],
)
def test_nothing_but_small_sums_is_evaluated(expression: str) -> None:
    assert calculated(expression, {}) is None


def test_variables_do_not_grow_without_end() -> None:
    text = "A=x\n" + "\n".join("A=$A$A" for _ in range(100)) + "\n--b $A"
    assert len(substituted(text)) < 100_000
    assert len(substituted("A=" + "x" * 200 + "\n" + "$A " * 100_000)) < 400_000 + 200 * MAX_SUBSTITUTIONS


def test_a_list_of_layers_keeps_its_parentheses() -> None:
    for text in (
        '--moe-layer-freq "([0]*3+[1]*9)" --bf16',
        "--moe-layer-freq ([0]*3+[1]*9) --bf16",
        "A=(--moe-layer-freq '([0]*3+[1]*9)' --bf16)",
    ):
        assert read_shell(text, "line") == {"moe-layer-freq": "([0]*3+[1]*9)", "bf16": True}, text


def test_yaml_keeps_quotes_anchors_and_lists_over_lines() -> None:
    text = """
shared: &sizes
  --hidden-size: 512
  --num-attention-heads: 8
more:
  <<: *sizes
  --name: "x # y"
  --other: 'a: b'
  --recompute-modules: [
    mlp,
    moe_act,
  ]
  --first: &depth 12
  --num-layers: *depth
  --none: null
  --script: |
    pip install x
"""
    assert read_text(text, "yaml") == {
        "hidden-size": 512,
        "num-attention-heads": 8,
        "name": "x # y",
        "other": "a: b",
        "recompute-modules": ["mlp", "moe_act"],
        "first": 12,
        "num-layers": 12,
    }


@pytest.mark.parametrize("text", ["a: *b", "a: [1", "- 1\n- 2", "a: 1\n b: 2", "x: " + "[" * 100])
def test_what_is_no_yaml_of_arguments_is_a_named_fault(text: str) -> None:
    with pytest.raises(OomlessError) as caught:
        read_text(text, "run.yaml")
    assert "run.yaml" in caught.value.message


def test_unknown_modules_are_refused() -> None:
    """Megatron asserts its list (transformer_config.py); recomputing nothing would be told to fit or not."""
    again = f"{LINE} --recompute-granularity selective --recompute-modules"
    with pytest.raises(OomlessError, match="--recompute-modules 'foo' is not known") as caught:
        read_arguments(read_text(f"{again} core_attn foo", "line"), 8)
    assert caught.value.code == 2
    with pytest.raises(OomlessError, match="'layer_norm'") as caught:
        read_arguments(read_text(f"{again} layer_norm", "line"), 8)
    assert "layernorm" in (caught.value.hint or "")
    with pytest.raises(OomlessError) as caught:
        read_arguments(read_text(f"{again} mhc", "line"), 8)
    assert caught.value.code == 4
    run = read_arguments(read_text(f"{again} core_attn layernorm mlp", "line"), 8)
    assert run.recompute_modules == ("core_attn", "layernorm", "mlp")
