"""What looks like a digit and is no number, and numbers of more digits than Python reads: an error of ours,
never a traceback."""

from pathlib import Path

import pytest

from command import call

MEGATRON = (
    "--num-layers 12 --hidden-size 512 --num-attention-heads 8 --seq-length 128 "
    "--padded-vocab-size 1024 --bf16 --num-experts 8"
)
LONG = "9" * 5000
FILES = {
    "yaml": (
        "x.yaml",
        'base_model: Qwen/Qwen3-8B\nmicro_batch_size: "{}"\n',
        ("train", "qwen3-8b", "--gpu", "h100", "--from"),
    ),
    "freq": ("x.sh", f"{MEGATRON} --moe-layer-freq {{}}", ("train", "--gpu", "h100", "--megatron-args")),
    "heads": (
        "x.sh",
        f"{MEGATRON} --group-query-attention --num-query-groups {{}}",
        ("train", "--gpu", "h100", "--megatron-args"),
    ),
    "cublas": (
        "x.sh",
        f"CUBLAS_WORKSPACE_CONFIG=:{{}}:8 {MEGATRON}",
        ("train", "--gpu", "h100", "--megatron-args"),
    ),
}


@pytest.mark.parametrize("number", ["²", LONG, "٣²", "1e400", "inf"])
@pytest.mark.parametrize("kind", FILES)
def test_files(kind: str, number: str, tmp_path: Path) -> None:
    name, text, words = FILES[kind]
    (tmp_path / name).write_text(text.format(number))
    answer = call(*words, str(tmp_path / name))
    assert "internal error" not in answer.err
    assert answer.code in (0, 1, 2)


@pytest.mark.parametrize("number", ["²", LONG, "1e400", "inf", "-1"])
@pytest.mark.parametrize(
    "column",
    ["n_gpus", "input_len", "output_len", "concurrency_or_batch", "tp", "context_len", "micro_batch"],
)
def test_tables(column: str, number: str, tmp_path: Path) -> None:
    for table in ("perf.csv", "inference.csv", "training.csv"):
        lines = (Path(__file__).parents[1] / "tables" / table).read_text().splitlines()[:4]
        header = lines[0].split(",")
        if column not in header or any('"' in line for line in lines[1:]):
            lines = [line for line in lines if '"' not in line]
        if column not in header:
            continue
        rows = [line.split(",") for line in lines[1:]]
        for row in rows:
            row[header.index(column)] = number
        (tmp_path / table).write_text("\n".join([lines[0], *map(",".join, rows)]) + "\n")
        answer = call("validate", str(tmp_path / table), "--json")
        assert "internal error" not in answer.err
        assert answer.code in (0, 1)


def test_claims() -> None:
    for word in ("C²", f"C{LONG}"):
        answer = call("claims", word)
        assert answer.code == 2
        assert "unknown claim" in answer.err
