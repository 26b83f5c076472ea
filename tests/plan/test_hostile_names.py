"""Every kind of file that a plan writes, executed with stubs in place of what it starts: a folder's name
arrives whole, and nothing in it is run."""

import ast
import json
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml  # type: ignore[import-untyped,unused-ignore]
from hypothesis import given
from hypothesis import strategies as st

from command import call
from oomless.errors import OomlessError, UnsupportedError
from oomless.model.load import load
from oomless.plan import launch as launch_room
from oomless.plan.launch import Launch
from oomless.plan.launch.documents import json_text, toml
from oomless.plan.launch.documents import yaml as yaml_text
from oomless.plan.launch.scripts import python
from oomless.plan.launch.serving import PairLaunch, router_launch, serving_launch, side_launch
from oomless.plan.launch.shell import launch_files, write_files
from oomless.plan.launch.training import training_launch
from oomless.run.hardware import parse_gpu
from oomless.run.serving import Asked, Layout
from oomless.run.training import Mesh, TrainingAsked
from plan.hostile_names import NAMES, NO_UTF8
from plan.stubs import Stubs, kubernetes, libraries, modelfile


class Kind(NamedTuple):
    """A question whose launch is written."""

    gpu: str
    asked: Asked | TrainingAsked
    naming: tuple[str, ...]
    """Files that name the model."""
    file: str = ""
    """What stands behind the folder in MODEL."""
    target: str = "./m/{}"
    """What the files name."""


GGUF = "{}-Q8_0.gguf"
TP8, TP16 = Layout(tp=8), Layout(tp=16)
CLUSTER = ("launch.sh", "leaderworkerset.yaml", "serve.sbatch", "sky.yaml")
KINDS = (
    Kind("h100:8", Asked(layout=TP8, context=4096), ("launch.sh", "sky.yaml")),
    Kind("h100:8x2", Asked(layout=TP16, context=4096), ("ray.sh", *CLUSTER)),
    Kind("h100:8x2", Asked(engine="sglang", layout=TP16), CLUSTER, "/config.json"),
    Kind("h100:8x2", Asked(engine="trtllm", layout=TP16), ("launch.sh", "serve.sbatch")),
    Kind("h100:8", Asked(layout=TP8, quantization="w4a16"), ("launch.sh", "sky.yaml"), "", "./{}-w4a16"),
    Kind("h100:1", Asked(engine="llamacpp", quantization="q8_0"), ("launch.sh",), "", GGUF),
    Kind("h100:1", Asked(engine="llamacpp"), ("launch.sh",), "/m.gguf", "./m/{}/m.gguf"),
    Kind("h100:1", Asked(engine="ollama", quantization="q8_0"), ("Modelfile",), "", f"./{GGUF}"),
    Kind("h100:1", Asked(engine="ollama", context=4096), ("Modelfile",), "/m.gguf", "./m/{}/m.gguf"),
    Kind("h100:1", Asked(engine="transformers", concurrency=2), ("serve.py",)),
    *(
        Kind("h100:8x2", TrainingAsked(framework=framework, sharding="fsdp2", seq_len=2048), naming)
        for framework, naming in (
            ("fsdp", ("train.py",)),
            ("deepspeed", ("train.py",)),
            ("transformers", ("train.py",)),
            ("axolotl", ("axolotl.yaml",)),
        )
    ),
    Kind(
        "h100:8x2",
        TrainingAsked(framework="torchtitan", sharding="fsdp2", seq_len=2048),
        ("job.toml",),
        "",
        "./m/{}: planned by oomless",
    ),
    Kind("h100:8x2", TrainingAsked(framework="megatron-lm", mesh=Mesh(tp=2), seq_len=4096), ()),
    Kind("h100:1", TrainingAsked(framework="peft", method="qlora", seq_len=2048), ("train.py",)),
    Kind(
        "h100:8x2",
        TrainingAsked(framework="llama-factory", sharding="zero3", seq_len=2048),
        ("llama_factory.yaml",),
    ),
)
WITHOUT_A_NAME = ("ds.json", "megatron.args", "accelerate.yaml")
"""Files of numbers and words of ours."""


def launch_of(kind: Kind, name: str) -> Launch:
    model, word = load("llama-3.1-8b")._replace(name=name), f"./m/{name}{kind.file}"
    if isinstance(kind.asked, TrainingAsked):
        return training_launch(load("llama-3.1-8b"), word, kind.asked, parse_gpu(kind.gpu))
    return serving_launch(model, word, kind.asked, parse_gpu(kind.gpu))


def told(path: Path, stubs: Stubs) -> Iterator[list[str]]:
    """The words of every program that a file starts, and the values that its reader gets from it."""
    name, folder, text = path.name, path.parent, path.read_bytes().decode()
    if name == "leaderworkerset.yaml":
        group = next(yaml.safe_load_all(text))["spec"]["leaderWorkerTemplate"]
        for role in ("leader", "worker"):
            words = group[f"{role}Template"]["spec"]["containers"][0]["command"]
            yield from stubs.run(*map(kubernetes, words), cwd=folder)
    elif name == "sky.yaml":
        task = yaml.safe_load(text)
        for rank in "01" if task["num_nodes"] > 1 else "0":
            script = task.get("setup", "") + task["run"]
            yield from stubs.run("bash", "-c", script, cwd=folder, SKYPILOT_NODE_RANK=rank)
    elif name.endswith((".sh", ".sbatch")):
        first = "sh" if text.startswith("#!/bin/sh\n") else "bash"
        for rank in "01" if "$SLURM_NODEID" in text or "$NODE_RANK" in text else "0":
            yield from stubs.run(first, name, cwd=folder, SLURM_NODEID=rank, NODE_RANK=rank)
    elif name.endswith(".py"):
        with libraries() as library:
            exec(compile(text, name, "exec"), {"__name__": "__main__"})
        yield from ([str(found.args[0])] for found in library.from_pretrained.call_args_list)
    elif name == "Modelfile":
        yield from (list(found) for found in modelfile(text))
    else:
        yield list(values(yaml.safe_load(text) if name.endswith(".yaml") else tomllib.loads(text)))


def values(data: Any) -> Iterator[str]:
    if isinstance(data, dict | list):
        for each in data.values() if isinstance(data, dict) else data:
            yield from values(each)
    else:
        yield str(data)


@pytest.fixture(scope="module")
def stubs(tmp_path_factory: pytest.TempPathFactory) -> Stubs:
    return Stubs(tmp_path_factory.mktemp("stubs"))


@pytest.mark.parametrize("name", NAMES, ids=ascii)
def test_a_name_arrives_whole_and_is_not_run(name: str, stubs: Stubs, tmp_path: Path) -> None:
    for number, kind in enumerate(KINDS):
        folder = tmp_path / str(number)
        try:
            written = write_files(launch_files(launch_of(kind, name)), folder)
        except UnsupportedError as error:
            assert "an Ollama Modelfile cannot name" in error.message
            assert not name.isprintable()
            continue
        assert naming(kind, name, written, stubs) >= {*kind.naming}, kind
        assert {*folder.iterdir()} == {*written}
    assert not list(tmp_path.rglob("*pwned*"))


@pytest.mark.parametrize("engine", ["vllm", "sglang"])
def test_a_name_arrives_whole_on_both_sides(engine: str, stubs: Stubs, tmp_path: Path) -> None:
    asked, hardware = Asked(engine=engine, layout=TP16), parse_gpu("h100:8x2")
    for number, name in enumerate(NAMES):
        model, word = load("llama-3.1-8b")._replace(name=name), f"./m/{name}"
        pair = PairLaunch(
            side_launch(model, word, asked, hardware, "prefill"),
            side_launch(model, word, asked, hardware, "decode"),
            router_launch(engine, 2, 1),
        )
        *sides, router = write_files(pair.files, tmp_path / str(number))
        assert len(sides) == 2 * len(CLUSTER)
        for path in sides:
            port = "8100" if path.parent.name == "prefill" else "8200"
            found = list(told(path, stubs))
            assert any(word in words for words in found), path
            assert any(port in words for words in found), path
        (words,) = told(router, stubs)
        urls = [each for each in words if each.startswith("http")]
        assert urls == ["http://10.0.0.1:8100", "http://10.0.0.2:8100", "http://10.0.0.3:8200"]
        assert words.count("8998") == (2 if engine == "sglang" else 0)
    assert not list(tmp_path.rglob("*pwned*"))


def naming(kind: Kind, name: str, written: list[Path], stubs: Stubs) -> set[str]:
    """The files that name the model, by what their readers are told."""
    target = kind.target.format(name)
    target = f"./{target}" if target.startswith("-") else target
    return {
        path.name
        for path in written
        if path.name not in WITHOUT_A_NAME
        if any(target in words for words in told(path, stubs))
    }


def test_a_name_that_is_no_utf8_arrives_or_is_refused(stubs: Stubs, tmp_path: Path) -> None:
    arrived = set()
    for number, kind in enumerate(KINDS):
        folder = tmp_path / str(number)
        try:
            written = write_files(launch_files(launch_of(kind, NO_UTF8)), folder)
        except OomlessError as error:
            assert "no UTF-8" in error.message or "Modelfile" in error.message
            assert not folder.exists()
            continue
        assert naming(kind, NO_UTF8, written, stubs) >= {*kind.naming}, kind
        arrived |= {*kind.naming}
    assert arrived == {"serve.py", "train.py", "axolotl.yaml", "llama_factory.yaml"}


@pytest.mark.parametrize("engine", ["vllm", "ollama"])
def test_folders_on_disk_through_the_command(
    engine: str, stubs: Stubs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The whole way: `oomless plan './m/$(touch pwned)' --write w; sh w/launch.sh`."""
    monkeypatch.chdir(tmp_path)
    config = json.dumps(SMALL)
    for number, name in enumerate(NAMES):
        Path("m", name).mkdir(parents=True)
        Path("m", name, "config.json").write_text(config, encoding="utf-8")
        words = ("--gpu", "h100:1", "--engine", engine, "--rows", "1", "--write", f"w{number}")
        form = ("--quantization", "none") if engine == "vllm" else ()
        done = call("plan", f"./m/{name}", *words, *form)
        if engine == "ollama" and not name.isprintable():
            assert done.code == 4, (name, done.err)
            continue
        assert done.code == 0, (name, done.err)
        found = stubs.run("sh", "launch.sh", cwd=tmp_path / f"w{number}")
        if engine == "vllm":
            assert found[0][:3] == ["vllm", "serve", f"./m/{name}"]
    assert not list(tmp_path.glob("*pwned*")) + list(tmp_path.glob("w*/*pwned*"))


SMALL = {
    "model_type": "llama",
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 1000,
    "max_position_embeddings": 4096,
    "torch_dtype": "bfloat16",
}

texts = st.text(st.characters(exclude_categories=["Cs"]))


@given(texts)
def test_each_writer_gives_its_reader_the_same_text(text: str) -> None:
    assert yaml.safe_load(yaml_text({"a": text, "b": [text], text: 1})) == {"a": text, "b": [text], text: 1}
    assert tomllib.loads(toml({"t": {"a": text, "b": [text, text]}})) == {"t": {"a": text, "b": [text, text]}}
    assert json.loads(json_text({"a": text})) == {"a": text}
    script = ast.parse(python("", {"A": text}, "")).body[0]
    assert isinstance(script, ast.Assign)
    assert ast.literal_eval(script.value) == text


@pytest.mark.parametrize(
    "text",
    [
        "1e-5",
        "1e3",
        "0o17",
        "0x1f",
        "010",
        "1_0",
        ".5e3",
        "y",
        "No",
        "~",
        "",
        "1:30",
        "=",
        "<<",
        "-",
        "2024-01-01",
    ],
)
def test_no_yaml_reads_a_text_as_something_else(text: str) -> None:
    """YAML 1.1 (PyYAML) and 1.2 (Go, ruamel) disagree on plain words; what is quoted is a text in both."""
    assert yaml_text({"a": text}).startswith(('a: "', "a: '"))
    assert yaml.safe_load(yaml_text({"a": 1e-5, "b": 1e300})) == {"a": 1e-5, "b": 1e300}


def test_no_f_string_of_the_room_holds_a_name() -> None:
    """Names go through the writers: text with a hole that a name fills is what was injected once."""
    names = {"hub", "word", "target", "note", "model.name"}
    wrong = []
    for path in Path(launch_room.__file__).parent.glob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        exempt = {
            id(each)
            for node in ast.walk(tree)
            if isinstance(node, ast.Raise) or getattr(node, "name", "") == "served_name"  # paths and notes
            for each in ast.walk(node)
        }
        for node in ast.walk(tree):
            if isinstance(node, ast.FormattedValue) and id(node) not in exempt:
                used = {ast.unparse(each) for each in ast.walk(node) if isinstance(each, ast.expr)}
                wrong += [f"{path.name}:{node.lineno}: {each}" for each in used & names]
    assert not wrong
