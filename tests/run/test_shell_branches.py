"""Scripts as they are published: conditions, arrays, and what an entry point hands on."""

import pytest

from oomless.engines.command_line import read_command, starts_in
from oomless.errors import UsageError
from oomless.run.shell_words import commands_in

SWEEP = """
export MODEL=org/m TP=8
# it isn't set here: "${DP_ATTENTION}"
PARALLEL=(--tensor-parallel-size "$TP")
if [ "${DP_ATTENTION}" = "true" ]; then
    PARALLEL=(--tensor-parallel-size 1 --data-parallel-size "$TP")
fi
if [[ "$TP" -eq 8 ]] && [ -z "$EVAL" ]; then
    LENGTH=10240
elif [ "$TP" -gt 1 ]; then
    echo "TP=4 has no length"
    exit 1
else
    LENGTH="$EVAL_LENGTH"
fi
[ -n "$ROCR_VISIBLE_DEVICES" ] && export HIP_VISIBLE_DEVICES="$ROCR_VISIBLE_DEVICES"
case "$TP" in
  1|2) SEQS=16 ;;
  8) SEQS=64 ;;
  *) SEQS=32 ;;
esac
vllm serve "$MODEL" "${PARALLEL[@]}" ${EAGER:+--enforce-eager} \\
  --interval $( [[ $TP -gt 4 ]] && echo 30 || echo 10 ) \\
  --compilation-config '{"mode": 3}' --max-model-len "$LENGTH" --max-num-seqs "$SEQS" > log 2>&1 &
"""


def test_a_script_runs_the_branches_that_its_values_choose() -> None:
    found = read_command(SWEEP)
    assert (found.model, found.visible) == ("org/m", None)
    named = {name: found.flags.get(name) for name in ("tp", "dp", "max_model_len", "max_num_seqs")}
    assert named == {"tp": 8, "dp": None, "max_model_len": 10240, "max_num_seqs": 64}
    assert "enforce_eager" not in found.flags


def test_a_value_given_before_the_script_turns_its_branch() -> None:
    flags = read_command("DP_ATTENTION=true\nEAGER=1\n" + SWEEP).flags
    assert (flags["tp"], flags["dp"], flags["enforce_eager"]) == (1, 8, True)


@pytest.mark.parametrize(
    ("condition", "words"),
    [
        ("command -v nvidia-smi", ["a", "b"]),  # nobody knows: both ways are read
        ("[ x = x ]", ["a"]),
        ("[ $(nproc) = 8 ]", ["a", "b"]),
        ("! [ x = x ]", ["b"]),
        ("[ -z $X ] || [ -f here ]", ["a"]),
    ],
)
def test_both_ways_are_read_of_what_nobody_knows(condition: str, words: list[str]) -> None:
    found = commands_in(f"if {condition}; then a; else b; fi")
    assert [each.words[0] for each in found] == words


def test_what_only_an_untaken_branch_starts_is_answered_all_the_same() -> None:
    text = 'if [ "$NODE_RANK" = 0 ]; then\n  vllm serve m -tp 8\nelse\n  ray start --block\nfi'
    assert starts_in(text)[0][0][1].words == ("m", "-tp", "8")


def test_an_if_of_prose_or_python_opens_nothing() -> None:
    assert commands_in("if you like\nvllm serve m")[1].words == ("vllm", "serve", "m")


def test_a_compose_file_escapes_its_dollars_and_hands_words_on() -> None:
    text = """services:
  llm:
    image: vllm/vllm-openai:v0.20.0
    environment:
      - SPEC_N=${SPEC_N:-}
    entrypoint:
      - bash
      - -c
      - |
        n="$${SPEC_N:-3}"
        case "$${SPEC:-}" in off|no) n=0 ;; esac
        ARGS=()
        if [ "$$n" -gt 0 ]; then ARGS=(--max-num-seqs $$n); fi
        exec vllm serve "$$@" "$${ARGS[@]}"
      - --
    command: [--model, org/m, --max-model-len, "${MAX_LEN:-4096}"]
"""
    found = read_command(text)
    assert (found.model, found.flags["max_model_len"], found.flags["max_num_seqs"]) == ("org/m", 4096, 3)
    assert (found.flags["engine_version"], found.others) == ("0.20.0", 0)


def test_a_template_beside_the_one_that_serves_is_passed_over() -> None:
    secret = "apiVersion: v1\nkind: Secret\nstringData:\n  token: {{HF_TOKEN}}\n"
    served = (
        "kind: Pod\nspec:\n  containers:\n  - image: vllm/vllm-openai:v0.10.0\n    args: [--model, org/m]\n"
    )
    assert read_command(f"{served}---\n{secret}").model == "org/m"
    with pytest.raises(UsageError, match="a template of Helm"):
        read_command(secret)


def test_a_model_of_kubeai_names_engine_cards_and_words() -> None:
    text = (
        "apiVersion: kubeai.org/v1\nkind: Model\nspec:\n  url: hf://org/m\n  engine: VLLM\n"
        "  args: [--tensor-parallel-size=8]\n  resourceProfile: nvidia-gpu-h100:8\n"
    )
    found = read_command(text)
    assert (found.model, found.flags["tp"], found.visible, found.card) == ("org/m", 8, 8, "h100")


def test_a_file_that_a_script_writes_has_its_values() -> None:
    text = (
        "N=8 FILE=c.yaml\ncat > $FILE <<EOF\nmax-model-len: $((N * 512))\nEOF\n"
        "cat << EOF >> $FILE\nmax-num-seqs: 8\nEOF\nvllm serve org/m --config $FILE"
    )
    flags = read_command(text).flags
    assert (flags["max_model_len"], flags["max_num_seqs"]) == (4096, 8)


def test_a_value_of_json_and_a_choice_of_numbers_are_read() -> None:
    text = """C=64
CONFIG=${CONFIG:-'{"cudagraph_mode": "PIECEWISE", "pass_config": {"fuse": true}}'}
vllm serve org/m --compilation-config "$CONFIG" --max-num-seqs $((C*3/2>8?C*3/2:8))"""
    flags = read_command(text).flags
    assert flags["max_num_seqs"] == 96
    assert "PIECEWISE" in str(flags["compilation_config"])


def test_several_names_of_a_served_model_are_no_models() -> None:
    text = (
        "THINK=high\nvllm serve --served-model-name a b --model org/m "
        "${THINK:+--max-num-seqs ${SEQS:-8}} --default-chat-template-kwargs '{\"x\": 1}'"
    )
    found = read_command(text)
    assert (found.model, found.unknown, found.flags["max_num_seqs"]) == ("org/m", (), 8)


@pytest.mark.parametrize(
    "text", ["if x; then " + "else " * 9999, "case a in a) " * 9999, "! " * 9999, "[ " + "! " * 9999]
)
def test_branches_without_end_are_read_in_the_end(text: str) -> None:
    assert starts_in(f"{text}\nfi\nesac")[0] == []


@pytest.mark.parametrize(
    "words", ["$MODEL -tp 8", "org/m -tp $TP", "org/m --gpu-memory-utilization=${SHARE}"]
)
def test_a_variable_that_nothing_sets_is_named(words: str) -> None:
    with pytest.raises(UsageError, match=r"\$\{?(MODEL|TP|SHARE)\}? has no value in what was pasted"):
        read_command(f"vllm serve {words}")
