"""Good inputs of every reader, made bad: an answer or an error that was meant, in little time and memory.

OOMLESS_FUZZ_INPUTS=1000000 tries as many (`make test-slow`: as the issue of hostile input asks),
OOMLESS_FUZZ_SEED=N tries those of one seed again.
"""

import csv
import gzip
import json
import os
import random
import time
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path

import pytest

from budget import TooSlow, budget
from file_readers import READERS, FileReader, meant
from mutations import mutated
from oomless.engines.llamacpp.placement import of_layers
from oomless.errors import OomlessError
from oomless.facts import model_config
from oomless.model.load import load
from oomless.truth.llama_rows import predict_llama
from oomless.truth.tables import Incomplete

INPUTS = 40
SLOW_INPUTS = int(os.environ.get("OOMLESS_FUZZ_INPUTS", "1000000"))
SEED = int(os.environ.get("OOMLESS_FUZZ_SEED", "0"))
MOST_FAULTS = 20


def faults_of(reader: FileReader, inputs: int, seed: int, folder: Path) -> list[str]:
    """What inputs of one reader brought about that was not meant."""
    seeds, path, found = reader.seeds(), folder / reader.name, list[str]()
    for number in range(inputs):
        chance = random.Random(f"{reader.name} {seed} {number}")
        content = mutated(chance.choice(seeds), chance)
        path.write_bytes(gzip.compress(content, 1) if reader.packed else content)
        fault = ""
        try:
            with redirect_stdout(StringIO()), redirect_stderr(StringIO()), budget():
                reader.read(path)
        except (TooSlow, SystemExit) as error:
            fault = f"{type(error).__name__}: {error}"
        except Exception as error:
            fault = meant(error)
        if fault:
            found.append(f"{reader.name}, seed {seed}, input {number}: {fault[:300]}")
            if len(found) >= MOST_FAULTS:
                break
    return found


@pytest.mark.parametrize("reader", READERS, ids=lambda reader: reader.name)
def test_bad_input_gives_an_answer_or_an_error_that_was_meant(reader: FileReader, tmp_path: Path) -> None:
    assert faults_of(reader, INPUTS * min(reader.share, 3), SEED, tmp_path) == []


@pytest.mark.slow
@pytest.mark.parametrize("reader", READERS, ids=lambda reader: reader.name)
def test_a_million_bad_inputs(reader: FileReader, tmp_path: Path) -> None:
    seed = SEED or time.time_ns() % 10**9
    inputs = SLOW_INPUTS * reader.share // sum(each.share for each in READERS)
    print(f"{reader.name}: {inputs:,} inputs of seed {seed}")
    assert faults_of(reader, inputs, seed, tmp_path) == []


@pytest.mark.parametrize("reader", READERS, ids=lambda reader: reader.name)
def test_good_input_is_read(reader: FileReader, tmp_path: Path) -> None:
    """Or the fuzz would try the same refusal again and again."""
    path = tmp_path / reader.name
    for content in reader.seeds():
        path.write_bytes(gzip.compress(content) if reader.packed else content)
        with redirect_stdout(StringIO()):
            reader.read(path)


def test_an_indexer_without_the_latent_that_it_reads_is_refused(tmp_path: Path) -> None:
    """Seed 907233732, input 6565: a tensor of no columns was divided into blocks."""
    config = model_config("deepseek-v3.2") | {"q_lora_rank": None}
    (tmp_path / "config.json").write_text(json.dumps(config), encoding="utf-8")
    with pytest.raises(OomlessError, match="q_lora_rank is missing"):
        load(str(tmp_path))


def test_a_flag_of_a_measured_row_that_is_no_number_is_said() -> None:
    """Seed 747350759, input 3524: ub=true."""
    rows = (Path(__file__).parents[1] / "tables" / "inference.csv").read_text(encoding="utf-8").splitlines()
    row = next(csv.DictReader([rows[0], *(line for line in rows if " ub=512 " in line)]))
    with pytest.raises(Incomplete, match="ub=true"):
        predict_llama(
            row | {"other_flags": row["other_flags"].replace("ub=512", "ub=true")}, "compute_buffer"
        )


def test_a_layer_of_five_thousand_digits_in_a_placed_tensor_is_no_layer() -> None:
    """Seed 50074809, input 11805: Python makes no number of it."""
    layers, _ = of_layers(rf"blk\.(1|{'9' * 5000}|07)\.ffn_.*")
    assert layers == frozenset({1})
