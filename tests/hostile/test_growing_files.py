"""Little files and numbers that become much: they are refused, or read, within 2 s and 200 MB."""

import gzip
import json
from pathlib import Path

import pytest

from budget import MAX_CHECKPOINT_CPU_S
from fake_hub import shard
from hostile_input import CODER, MEGATRON, within, written


def test_dotted_keys_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dotted = "a." * 20_000 + "a = 1"
    file = written(tmp_path, "torchtitan.toml", f"[training]\n{dotted}")
    answer = within("train", "deepseek-v2-lite", "--gpu", "h100:8", "--from", file)
    assert answer.code == 1
    assert "a key of more than 20 parts" in answer.err
    monkeypatch.setenv("OOMLESS_CONFIG", written(tmp_path, "config.toml", f"[infer]\n{dotted}"))
    assert within("infer", "deepseek-r1", "--gpu", "h200:8").code == 1


def test_a_trace_that_unpacks_to_gigabytes_is_refused(tmp_path: Path) -> None:
    begin = b'{"schema": "oomless/trace-file/1", "x": ['
    for name, filling in (("zeros", b"0," * (40 << 20)), ("spaces", b" " * (100 << 20))):
        file = written(tmp_path, f"{name}.trace", gzip.compress(begin + filling, 1))
        del filling
        answer = within("trace", "--from", file)
        assert answer.code == 1
        assert "unpacks to more than" in answer.err or "too many values" in answer.err


@pytest.mark.parametrize(
    "text",
    [
        "".join(f"V{n + 1}=${{V{n}:-1}}${{V{n}:-1}}\n" for n in range(40)) + f"run.py {MEGATRON} --a $V40",
        "A=" + "x" * 500 + "\n" + MEGATRON + "$A" * 60_000,
        MEGATRON + "${A:-" * 30_000 + "}" * 30_000,
        MEGATRON + "x" * 190_000,
        MEGATRON + "--a " * 45_000,
    ],
)
def test_variables_that_multiply(text: str, tmp_path: Path) -> None:
    file = written(tmp_path, "run.args", text)
    answer = within("train", "--megatron-args", file, "--world-size", "8", "--gpu", "h100:8")
    assert answer.code in (0, 1, 4)
    assert len(answer.out) + len(answer.err) < 10_000


ZEROS = "0" * 5_000


@pytest.mark.parametrize(
    "words",
    [
        ("infer", "deepseek-r1", "--gpu", f"{ZEROS}1GiB"),
        ("infer", "qwen2.5-vl-7b", "--gpu", "h200", "--limit-mm-per-prompt", '{"image":1e400}'),
        ("infer", "deepseek-r1", "--gpu", "h200:8", "--speculative-config", "[" * 20_000),
        ("infer", "deepseek-r1", "--gpu", "h200:8", "--speculative-config", '{"method":' * 9_000),
        ("speed", "deepseek-v2-lite", "--gpu", "h200", "--arrival-rate", "1e-320"),
        ("speed", "deepseek-v2-lite", "--gpu", "h200", "--requests", "10000000", "--arrival-rate", "5"),
        ("cost", "--gpu", "l40s:2", "--staff-usd-per-month", "1e308", "--json"),
        ("cost", "--gpu", "l40s:2", "--tokens-per-s", "1e-320", "--json"),
        ("cost", "--gpu", "l40s:2", "--tokens-per-s", "9", "--utilization", "1e-320", "--json"),
    ],
)
def test_numbers_beyond_all_use(words: tuple[str, ...]) -> None:
    answer = within(*words)
    assert (answer.code, answer.out) == (2, "")
    assert len(answer.err) < 3_000


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.toml", b"x = 0x" + b"f" * 5_000),
        ("a.yaml", b"micro_batch_size: 0x" + b"f" * 5_000),
        ("a.yaml", b"micro_batch_size: " + b"1:" * 50_000 + b"1"),
        ("a.yaml", b'sequence_len: !!int ""'),
        ("a.yaml", b"a: &a [" + b"1," * 9_000 + b"1]\n" + b"".join(b"k%d: [*a, *a]\n" % n for n in range(8))),
    ],
)
def test_numbers_and_aliases_of_training_files(name: str, content: bytes, tmp_path: Path) -> None:
    file = written(tmp_path, name, content)
    answer = within("train", "deepseek-v2-lite", "--gpu", "h100:8", "--from", file)
    assert answer.code in (0, 1)
    assert answer.code == 0 or file in answer.err


@pytest.mark.parametrize("value", ["nan", "-5", "1e308", "1" + "0" * 400, "inf"])
@pytest.mark.parametrize(
    "name",
    ["hidden-dropout", "attention-dropout", "num-experts 8 --moe-router-topk 2 --moe-expert-capacity-factor"],
)
def test_shares_that_are_none(name: str, value: str, tmp_path: Path) -> None:
    file = written(tmp_path, "run.args", f"{MEGATRON} --{name} {value}")
    answer = within("train", "--megatron-args", file, "--world-size", "8", "--gpu", "h100:8", "--json")
    assert (answer.code, answer.out) == (1, "")
    assert file in answer.err


def test_arrivals_beyond_all_time(tmp_path: Path) -> None:
    file = written(tmp_path, "w.csv", "arrival_s,prompt_tokens,output_tokens\n0,9,9\n1e308,9,9\n")
    answer = within("speed", "deepseek-v2-lite", "--gpu", "h200", "--workload", file)
    assert answer.code == 1
    assert f"{file}: line 3" in answer.err


@pytest.mark.parametrize("filling", ["{}", "[]"])
def test_a_config_of_empty_objects(filling: str, tmp_path: Path) -> None:
    text = '{"model_type": "llama", "x": [' + ",".join([filling] * 1_300_000) + "]}"
    answer = within("infer", written(tmp_path, "config.json", text), "--gpu", "h200")
    assert answer.code == 1


@pytest.mark.parametrize(
    "words", ["infer {} --gpu h200:8 --engine llamacpp", "train {} --gpu h200:8", "plan {}"]
)
def test_ten_thousand_layers_are_refused(words: str, tmp_path: Path) -> None:
    file = written(tmp_path, "config.json", {**CODER, "num_hidden_layers": 10_000})
    answer = within(*words.format(file).split())
    assert answer.code == 1
    assert "num_hidden_layers is 10000, not between 1 and 1,000" in answer.err


@pytest.mark.parametrize("pattern", ["M" * 9_999, "M*" * 600])
def test_a_long_pattern_of_layers_is_refused(pattern: str, tmp_path: Path) -> None:
    file = written(tmp_path, "run.args", f"{MEGATRON} --hybrid-layer-pattern {pattern}")
    answer = within("train", "--megatron-args", file, "--world-size", "8", "--gpu", "h100:8")
    assert answer.code == 1
    assert "layers" in answer.err


def test_layers_on_the_host_are_at_most_those_that_are_there() -> None:
    words = "infer deepseek-r1 --gpu h200:8 --engine llamacpp --json --n-cpu-moe".split()
    many, all_of_them = (within(*words, count) for count in ("300000000", "1000"))
    assert many.code == 0
    assert json.loads(many.out)["ranks"] == json.loads(all_of_them.out)["ranks"]


@pytest.mark.parametrize(
    "word", ["python", "python/", "vllm/", "/", "a ", "vllm serv ", "'a' ", "python a.py "]
)
def test_a_long_command_is_read_in_linear_time(word: str) -> None:
    command = word * (120_000 // len(word))
    for asks in ("infer", "train"):
        assert within(asks, "--command", command, "--gpu", "h200").code == 2


@pytest.mark.parametrize(
    "files",
    [
        "".join(f"cat > f.yaml <<E{end}\n" for end in range(9_000)),
        "cat > f.yaml <<EOF\n" * 9_000,
        f"cat <<{'A' * 80_000}\n" + "x\n" * 40_000,
        f"cat {'<<' * 60_000}\n",
    ],
    ids=["every end", "one end", "a long end", "no end"],
)
def test_files_that_a_script_begins_and_never_ends(files: str, tmp_path: Path) -> None:
    script = written(tmp_path, "serve.sh", f"{files}vllm serve qwen3-8b\n")
    for asks in ("infer", "train"):
        assert within(asks, "--command", f"@{script}", "--gpu", "h200").code in (0, 2)


# M7: tables; H9: many names for one file


ROW = "r{},s,2025,vLLM,0.9.2,llama-3.1-8b,bf16,auto,1,1,1,1,8192,,H100,0.9,,kv_tokens,9,tokens,,,,,A,\n"
HEADER = (
    "id,source,date,engine,engine_version,model,quant,kv_dtype,tp,pp,dp,ep,context_len,batch_or_parallel,gpu,"
    "gpu_mem_util,other_flags,quantity,value,unit,verbatim_log_line,naive_formula_value,exact_formula_value,"
    "rel_diff_pct,confidence,notes\n"
)
TABLES: dict[str, tuple[str, str, int]] = {
    "validate {}": (HEADER, ROW, 40_000),
    "cost --gpu h100:8 --prices {}": (
        "InstanceType,AcceleratorName,AcceleratorCount,Price,SpotPrice,Region,vCPUs\n",
        "gpu{},H100,8,23.60,10.00,eu-north1,96\n",
        400_000,
    ),
    "speed deepseek-v2-lite --gpu h200 --workload {}": (
        "arrival_s,prompt_tokens,output_tokens\n",
        "{},9,9\n",
        1_000_000,
    ),
}


@pytest.mark.parametrize("words", TABLES)
def test_tables_of_many_rows_are_refused(words: str, tmp_path: Path) -> None:
    header, row, number = TABLES[words]
    with (tmp_path / "table.csv").open("w", encoding="utf-8") as file:
        file.write(header)
        file.writelines(row.format(each) for each in range(number))
    answer = within(*words.format(tmp_path / "table.csv").split())
    assert (answer.code, answer.out) == (1, "")
    assert "table.csv" in answer.err


def test_one_shard_under_many_names_is_counted_as_often(tmp_path: Path) -> None:
    """Duplicates were seen only after everything had been read: 1.4 GB for fifty links to one file."""
    content = shard({f"a{number}": ("U8", (1,)) for number in range(10_000)}).content + bytes(10_000)
    (tmp_path / "one").write_bytes(content)
    names = [f"model-{number:05}-of-00050.safetensors" for number in range(1, 51)]
    for name in names:
        (tmp_path / name).symlink_to(tmp_path / "one")
    written(tmp_path, "config.json", CODER)
    index = {"metadata": {}, "weight_map": {f"t{n}": name for n, name in enumerate(names)}}
    written(tmp_path, "model.safetensors.index.json", index)
    answer = within("infer", str(tmp_path), "--gpu", "h200", cpu_s=MAX_CHECKPOINT_CPU_S)
    assert answer.code == 1


def test_one_part_under_many_names_is_refused(tmp_path: Path) -> None:
    from file_readers import gguf_seeds

    (tmp_path / "one").write_bytes(gguf_seeds()[0])
    for number in range(1, 201):
        (tmp_path / f"m-{number:05}-of-00200.gguf").symlink_to(tmp_path / "one")
    answer = within("infer", str(tmp_path / "m-00001-of-00200.gguf"), "--gpu", "h200")
    assert answer.code in (0, 1)
