"""The table of options: one entry a field, the same as the types of questions, written and read back
alike."""

from typing import Any, get_args, get_origin

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import oomless
from oomless import facts
from oomless.errors import UsageError
from oomless.facts.options import ENGINE_NAMES, TITLES, Option
from oomless.run.option_values import choices_of, fault_of, read, text_of, value_of
from oomless.run.options import TABLES, arguments, asked_of, by_flag, by_keyword, engines_of, options_of
from oomless.run.serving import Asked, Layout, Resolved, serving_question
from oomless.run.speculation import Speculation
from oomless.run.training import Mesh, TrainingAsked, TrainingResolved

COMMANDS = tuple(TABLES)
NOT_OF_A_QUESTION = {
    "infer": {
        "gpu",
        "model",
        "revision",
        "offline",
        "rope_scaling",
        "mlx_benchmark",
        "gguf_path",
        "max_new_tokens",
        "batch_size",
        "hf_file",
        "capture_sizes",
        "task",
        "runner_type",
        "convert_type",
        "max_capture_size",
        "attention_config",
        "engram_config",
        "eplb_config",
        "mm_processor_kwargs",
        "attn_dp_size",
        "cuda_graph_backend_decode",
        "cuda_graph_backend_prefill",
        "cuda_graph_config",
        "cuda_graph_bs",
        "decode_attention_backend",
        "draft_method",
        "draft_model",
        "num_speculative_tokens",
        "optimization_level",
        "redundant_experts",
        "speculative_num_steps",
        "speculative_num_draft_tokens",
    },
    "train": {"gpu", "revision", "offline", "zero", "fsdp", "global_batch"},
}
"""Who is asked, where, and parts of other fields."""
PYTHON: dict[str, set[object]] = {
    "whole": {int},
    "tokens": {int},
    "length": {int},
    "layers": {int},
    "number": {float},
    "positive": {float},
    "share": {float},
    "gib": {float},
    "text": {str},
    "lengths": {str},
    "json": {str},
    "switch": {bool},
    "onoff": {bool},
    "images": {int},
    "speculation": {Speculation},
}


def fields(kinds: tuple[type, ...]) -> dict[str, Any]:
    """Field -> annotation of the types that a question is made of."""
    return {
        name: note
        for kind in kinds
        for name, note in kind.__annotations__.items()
        if name not in ("layout", "mesh")
    }


@pytest.mark.parametrize(
    ("command", "kinds"),
    [("infer", (Asked, Layout)), ("train", (TrainingAsked, Mesh))],
    ids=["infer", "train"],
)
def test_the_types_of_a_question_are_those_of_the_table(command: str, kinds: tuple[Any, ...]) -> None:
    table = {option.field: option for option in asked_of(command)}
    notes = fields(kinds)
    beside = {name for name, option in table.items() if option.group == "beside"}
    assert set(notes) == set(table) - NOT_OF_A_QUESTION[command] - beside
    defaults = {name: value for kind in kinds for name, value in kind._field_defaults.items()}
    for name, note in notes.items():
        assert defaults[name] == table[name].default, name
        inner = {each for each in (get_args(note) or (note,)) if each is not type(None)}
        if table[name].kind == "words":
            assert get_origin(note) is tuple, name
        elif all(isinstance(each, type) for each in inner):
            assert inner == PYTHON[table[name].kind], name
        else:  # a Literal: the words of the table
            words = {word for each in inner for word in (get_args(each) or (each,))}
            assert words == {*table[name].choices}, name


def test_what_is_resolved_is_a_question_too() -> None:
    assert issubclass(Resolved, Asked)
    assert issubclass(TrainingResolved, TrainingAsked)
    assert Resolved._fields == Asked._fields


@pytest.mark.parametrize("command", COMMANDS)
def test_every_entry_is_whole(command: str) -> None:
    seen: set[str] = set()
    for option in options_of(command):
        assert option.group in TITLES, option.field
        assert option.help.endswith((".", "]")), option.field
        assert not seen & {*option.names, option.field}, option.field
        seen |= {*option.names, option.field}
        assert set(engines_of(option)) <= set(ENGINE_NAMES), option.field
        if option.default is not None and not option.several:
            assert value_of(option, option.default, "") == option.default
        if option.listed:
            assert len(choices_of(option)) > 1
        for name in option.names:
            assert name.startswith("-")


@pytest.mark.parametrize("command", COMMANDS)
def test_every_long_name_of_a_flag_is_a_keyword(command: str) -> None:
    known = by_keyword(command)
    for option in asked_of(command):
        for name in option.names:
            if name.startswith("--"):
                assert known[name[2:].replace("-", "_")].field == option.field


def test_a_flag_of_the_table_is_in_no_other() -> None:
    of_engine = {
        (engine, flag.partition("=")[0])
        for option in asked_of("infer")
        for names, flags in (option.known or {}).items()
        for engine in names.split()
        for flag in flags.split()
    }
    rows = facts.table("engine_flags")
    assert not of_engine & {(row["engine"], row["flag"]) for row in rows}
    assert len({(row["engine"], row["flag"]) for row in rows}) == len(rows)
    assert {row["takes"] for row in rows} <= {"value", "whole", "share", "switch", "optional", "several"}


def sample(option: Option) -> st.SearchStrategy[Any]:
    """Values that an option takes."""
    names = choices_of(option)
    if names and option.kind in ("text", "words"):
        several = option.kind == "words" or option.several
        chosen = st.sampled_from(names)
        return st.lists(chosen, min_size=1, max_size=3).map(tuple) if several else chosen
    words = st.text("abcxyz0123.-", min_size=1, max_size=9)
    most = min(option.most, 1 << 40)
    match option.kind:
        case "whole" | "tokens" | "length" | "layers":
            numbers = st.integers(int(option.least), int(most))
            return (
                numbers.filter(lambda value: not fault_of(option, value))
                if not names
                else st.sampled_from([*map(int, names)])
            )
        case "number" | "positive" | "share" | "gib":
            high = {"share": 1.0, "gib": 1024.0}.get(option.kind, float(most))
            return (
                st.floats(max(float(option.least), 1e-3), high)
                .map(lambda value: float(f"{value:g}"))
                .filter(lambda value: not fault_of(option, value))
            )
        case "onoff":
            return st.booleans()
        case "switch":
            return st.just(True)
        case "images":
            return st.integers(0, 99)
        case "speculation":
            return st.integers(1, 8).flatmap(
                lambda tokens: st.builds(
                    Speculation,
                    st.sampled_from(["mtp", "ngram", "EAGLE"]),
                    st.just(tokens),
                    st.none() | st.floats(1, tokens + 1),
                    st.none() | words,
                )
            )
        case "words":
            return st.lists(words, min_size=1, max_size=3).map(tuple)
        case "text" if option.several:
            return st.tuples(words)
        case "text" | "lengths" | "json":
            return words


@pytest.mark.parametrize("command", COMMANDS)
@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_what_is_written_is_read_back(command: str, data: st.DataObject) -> None:
    """Every value of every option: as our flags, and as Python and JSON have it."""
    option = data.draw(st.sampled_from([each for each in asked_of(command) if each.names]))
    value = data.draw(sample(option))
    assert (
        value_of(option, list(value) if isinstance(value, tuple) and option.kind == "words" else value, "")
        == value
    )
    if option.several:
        return
    words = arguments(command, [(option.field, value)])
    assert by_flag(command)[words[0]].field == option.field
    assert (read(option, words[1], words[0]) if len(words) > 1 else True) == value
    assert text_of(option, value) == (words[1] if len(words) > 1 else None)


WRONG = (
    None,
    True,
    -1,
    1 << 70,
    0.5,
    float("nan"),
    float("inf"),
    "",
    "x",
    "\x00",
    [1],
    {"a": 1},
    ("",),
    object(),
)


@pytest.mark.parametrize("command", COMMANDS)
def test_any_value_is_taken_or_refused_by_the_flags_name(command: str) -> None:
    for option in options_of(command):
        for wrong in WRONG:
            try:
                value_of(option, wrong, option.flag)
            except UsageError as error:
                assert error.field == option.field
                assert error.message.startswith(f"{option.flag} is ")
                assert error.hint
        for text in ("", "x", "-1", "1e400", "9" * 5000, "NaN", "∞", "²"):
            try:
                read(option, text, option.flag)
            except UsageError as error:
                assert error.field == option.field


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("32768", 32768),
        ("32k", 32_000),
        ("32K", 32_768),
        ("128K", 131_072),
        ("25.6k", 25_600),
        ("1M", 1 << 20),
    ],
)
def test_lengths_are_read_as_vllm_reads_them(text: str, meant: int) -> None:
    assert read(by_flag("infer")["--max-model-len"], text, "") == meant
    assert read(by_flag("infer")["--context"], text, "") == meant
    assert serving_question(max_model_len=text).max_model_len == meant


def test_a_length_may_be_left_to_the_engine() -> None:
    assert serving_question(max_model_len="auto", tp=2) == serving_question(tp=2)
    with pytest.raises(UsageError, match="--context is 'auto'"):
        serving_question(context="auto")


def test_other_names_ask_the_same() -> None:
    first = serving_question(tp=2, max_model_len=4096, max_num_seqs=8, block_size=32, enforce_eager=True)
    assert first == serving_question(
        tp_size=2, context_length=4096, parallel=8, page_size=32, disable_cuda_graph=True
    )


@pytest.mark.parametrize("name", ["rope_scaling", "nope"])
def test_what_is_no_keyword_is_refused(name: str) -> None:
    flags: Any = {name: "x"}
    with pytest.raises(oomless.UsageError, match="unknown option"):
        oomless.infer("deepseek-v2-lite", "h200", **flags)
