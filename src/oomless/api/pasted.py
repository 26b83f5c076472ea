"""A question that is pasted whole: an engine's own command line, or an answer that was saved."""

from typing import TYPE_CHECKING, Any

from ..errors import OomlessError, UsageError

if TYPE_CHECKING:
    from ..engines.command_reading import Command


def from_command(
    model: str | None, options: dict[str, Any]
) -> tuple[str | None, dict[str, Any], tuple[str, ...], dict[str, str]]:
    """Return MODEL and options of a command line, ours first, notes that say what was not read, and what it
    calls our flags."""
    from ..engines.command_line import drafting_name, read_command
    from ..engines.llamacpp.command_line import own_length
    from ..model.catalogue_names import catalogue_name
    from ..model.checkpoint_names import is_widened
    from ..model.quantization_scheme import WIDENED
    from ..run.options import by_keyword
    from .command_cards import on_its_cards, with_cards

    command = read_command(options["command"])
    ours = {name: value for name, value in options.items() if name != "command"}
    given = {**command.flags, **ours}
    given, notes = with_remark(given, command)
    notes += [*left_out(command), *beyond_its_context(given, command)]
    served, said = served_model(model, command, given.get("offline", False), given.get("revision"))
    if served is None:
        raise UsageError("MODEL is missing", "--command names no model: give one beside it", "model")
    place = command.model or ""
    if "gguf" in place.lower() and served != place and "quantization" not in ours:
        given, of_type = with_type(given, place, served)
        said = (*said, *of_type)
    given = own_length({"engine": command.engine, **given}, served)
    own = place in ("", served)
    known = own or named(place) == (served, "")
    given, of_name = with_form(given, place or served or "", known)
    said = (*said, *of_name)
    if (drafts := getattr(command.flags.get("speculation"), "draft", None)) and "speculation" not in ours:
        here = served if drafts == place else drafting_name(drafts)
        given["speculation"] = given["speculation"]._replace(draft=here)
    if served and place and known and command.flags.get("quantization") in ("fp8", "tpu_int8"):
        given = from_16_bit(given, served)
    if served and not own and catalogue_name(served) == served and is_widened(place, served):
        given = {"hf_overrides": WIDENED, **given}
        said = (*said, f"16 bit is read from the name of {place}")
    given = with_cards(given, command)
    if isinstance(given.get("gpu"), str):
        given, of_cards = on_its_cards(given, command)
        said = (*said, *of_cards)
    if command.beside:
        from .beside_model import kept_back, widened  # few commands name such files

        if "tower" in command.beside:
            given = widened(given, command.batch)
        given, of_files = kept_back(
            given, served, command.beside, lambda file: (from_path(file)[0], type_of(file)[0])
        )
        said = (*said, *of_files)
    spelled = {name: its for name, its in command.spelled.items() if name not in ours}
    words = {flag: its for name, its in spelled.items() for flag in by_keyword("infer")[name].names}
    return served, given, (*notes, *said), words


def left_out(command: "Command") -> list[str]:
    """Return notes on what of a command is not read, or not answered."""
    notes = list[str]()
    if command.ignored:
        notes.append(f"flags that do not touch memory: {', '.join(command.ignored)}")
    notes += [
        f"{flag}: asked for here is the model's own length; where that is too much, the engine "
        "takes the longest that its cache holds"
        for flag in command.left_open
    ]
    if command.unknown:
        notes.append(f"flags not known, which may change memory: {', '.join(command.unknown)}")
    if command.others:
        notes.append(f"{command.others + 1} commands start an engine: the first one is answered")
    return notes


def beyond_its_context(given: dict[str, Any], command: "Command") -> list[str]:
    """Return a note where a load that stands beside a command of llama.cpp is more than all its slots
    hold."""
    its, asked = ((of.get("context") or 0) * (of.get("concurrency") or 1) for of in (command.flags, given))
    if not its or asked <= its:
        return []
    return [f"the command's context of {its:,} tokens is less than this load: answered for {asked:,}"]


IN_CHECKPOINT = (
    "ascend",
    "auto-round",
    "auto_round",
    "compressed-tensors",
    "deepseek_v4_fp8",
    "inc",
    "modelopt",
    "modelslim",
    "moe_wna16",
    "quark",
)
"""Words for a checkpoint that describes its own types: on Ascend (quant_model_description.json), vLLM's and
SGLang's."""
BY_MODELSLIM = ("ascend", "modelslim")
SAME_FORM = {
    "awq_marlin": "awq",
    "gptq_marlin": "gptq",
    "fp4": "nvfp4",
    "modelopt_fp4": "nvfp4",
    "modelopt_fp8": "fp8",
    "sym_int4": "w4a16",
    "w8a8_int8": "w8a8",
    "w8a8_fp8": "fp8-dynamic",
}
"""What engines call the kernels or the maker of a form, in our words (vllm and sglang,
layers/quantization/__init__.py; sym_int4 is Intel's, intel/llm-scaler)."""


def with_remark(given: dict[str, Any], command: "Command") -> tuple[dict[str, Any], list[str]]:
    """Return (options, notes) with what the command says of how its release runs: a call of LLM() and a
    doubled batch do of any release, as SGLang's awq does, variables do where --engine-version is said."""
    from ..engines import engine
    from ..engines.sglang.release import OWN_AWQ
    from ..engines.vllm.release import CHUNKS, DOUBLED, OFFLINE, RELEASES

    release = given.get("engine_version") or ""
    remark = command.remark
    if CHUNKS in remark and not (release and RELEASES.at(release).offers_v0):  # the second engine always does
        remark = ", ".join(word for word in remark.split(", ") if word != CHUNKS)
    if not remark or "(" in release:
        return given, []
    if OFFLINE in remark or DOUBLED in remark or remark == OWN_AWQ:
        release = release or engine(command.engine).latest
    if not release:
        return given, [f"{remark}: asked for by the command, and counted where --engine-version is said"]
    return {**given, "engine_version": f"{release} ({remark})"}, []


def with_form(given: dict[str, Any], place: str, known: bool) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Return (options, notes) with the form that the name of a checkpoint says, where another shape stands
    for it; what nobody says is refused, as what ModelSlim made (ascend) of a checkpoint in 16 bit.

    >>> with_form({}, "novita/Deepseek-R1-0528-W4AFP8", False)
    ({'quantization': 'w4afp8'}, ('w4afp8 is read from the name of novita/Deepseek-R1-0528-W4AFP8',))
    >>> with_form({"quantization": "awq_marlin"}, "cognitivecomputations/DeepSeek-R1-AWQ", False)[0]
    {'quantization': 'awq'}
    >>> with_form({"quantization": "auto_round"}, "Lorbus/Qwen3.6-27B-int4-AutoRound", True)
    ({}, ())
    """
    from ..model.checkpoint_names import form_in_name
    from ..model.mlx_forms import mlx_form

    word = given.get("quantization")
    if word is not None and word not in IN_CHECKPOINT and not (known and word in by_modelopt(place)):
        return {**given, "quantization": SAME_FORM.get(word, word)}, ()
    known = known and (word not in BY_MODELSLIM or bool(config_of(place).get("quantization_config")))
    if known or place.lower().endswith(".gguf"):
        return {name: value for name, value in given.items() if name != "quantization"}, ()
    form = mlx_form(place) or form_in_name(place.rpartition("/")[2])
    if form:
        return {**given, "quantization": form}, (f"{form} is read from the name of {place}",)
    if word is None:
        return given, ()
    raise UsageError(
        f"--quantization {word}: the checkpoint's own files say what it holds, and are not read",
        "say it beside the command: --quantization w8a8",
        "quantization",
    )


def from_16_bit(given: dict[str, Any], served: str) -> dict[str, Any]:
    """Return options whose release says that a checkpoint of the catalogue in 16 bit is quantised on loading.

    >>> asked = {"engine": "vllm", "engine_version": "0.9.0 (V0)"}
    >>> from_16_bit(asked, "llama-3.1-8b")["engine_version"]
    '0.9.0 (V0, from 16 bit)'
    >>> from_16_bit(asked, "qwen3-8b-fp8")["engine_version"]
    '0.9.0 (V0)'
    """
    from .. import facts
    from ..engines.requantised import FROM_16_BIT
    from ..model.catalogue_names import catalogue_name

    known, release = catalogue_name(served), given.get("engine_version")
    if not known or not release or "quantization_config" in facts.model_config(known):
        return given
    begun = f"{release[:-1]}, " if release.endswith(")") else f"{release} ("
    return {**given, "engine_version": f"{begun}{FROM_16_BIT})"}


def by_modelopt(place: str) -> tuple[str, ...]:
    """Return the words with which engines start a checkpoint of the catalogue that ModelOpt made as it is.

    >>> by_modelopt("nvidia/DeepSeek-R1-0528-FP4-v2"), by_modelopt("deepseek-ai/DeepSeek-R1")
    (('modelopt_fp4', 'modelopt_fp8'), ())
    """
    made = config_of(place).get("quantization_config", {})
    return ("modelopt_fp4", "modelopt_fp8") if made.get("quant_method") == "modelopt" else ()


def config_of(place: str) -> dict[str, Any]:
    """Return the config of a checkpoint of the catalogue; nothing for another."""
    from .. import facts
    from ..model.catalogue_names import catalogue_name

    known = catalogue_name(place)
    return facts.model_config(known) if known else {}


def served_model(
    model: str | None, command: "Command", offline: bool, revision: str | None
) -> tuple[str | None, tuple[str, ...]]:
    """Return (MODEL, notes) of a command: what stands beside it is the shape of a path, of a name that nobody
    here knows, and of its own checkpoint in another form; alone a path is read, or its name where that is a
    GGUF file's or no hub answers."""
    from ..engines.command_line import is_path
    from ..facts.tables import stored_config
    from ..model.catalogue_names import catalogue_name
    from ..truth.reconcile.log_model import published_as

    word = command.model
    if word is None:
        return model, ()
    known = None if is_path(word) else catalogue_name(word)
    if model is not None:
        if model in (word, known) or (known is not None and known == catalogue_name(model)):
            return model, ()
        if known is not None and stored_config(known).get("like") != catalogue_name(model):
            raise UsageError(f"MODEL is {model}, --command serves {word}", "leave one of them out")
        return model, (f"{word}: the shape of {model} is taken for it",)
    if is_path(word):
        return from_path(word)
    if known and "/" in word and not revision:
        return known, (f"{word} is {known} of the catalogue; name it as MODEL to read the hub instead",)
    if "/" in word and not known:
        return by_its_name(word, offline, revision)
    return (word, ()) if known or not published_as(word)[0] else from_path(word)


def named(place: str) -> tuple[str | None, str]:
    """Return (model of the catalogue, what follows its name) of a hub id or a folder."""
    from ..engines.command_line import is_path
    from ..model.catalogue_names import catalogue_name
    from ..truth.reconcile.log_model import published_as

    return published_as(place) if is_path(place) else (catalogue_name(place), "")


def by_its_name(repo_id: str, offline: bool, revision: str | None) -> tuple[str, tuple[str, ...]]:
    """Return (MODEL, notes) of a repository that the catalogue does not know: where no hub answers, the model
    whose name is in its own. What a checkpoint in a form leaves in 16 bit its name does not say."""
    import re

    from ..model.catalogue_names import GGUF
    from ..model.checkpoint_names import UNREAD_FORMS, form_in_name, is_widened, shape_by_name, shape_within
    from ..model.mlx_forms import is_unread, mlx_form

    shape, rest = shape_by_name(repo_id)
    form = shape and (mlx_form(repo_id) or form_in_name(rest))
    if not form and not (shape and (is_widened(rest, shape) or rest.endswith(GGUF))):
        shape = "" if GGUF in repo_id.lower() else shape_within(repo_id)
    if not shape or revision or is_unread(repo_id) or re.search(UNREAD_FORMS, repo_id.lower()):
        return repo_id, ()
    from ..model.hub import is_silent

    if not is_silent(repo_id, offline, revision):
        return repo_id, ()
    if form or form_in_name(repo_id):
        return shape, (
            f"no hub answers: {repo_id} is read by its name, what it leaves in 16 bit is not known",
        )
    return shape, (f"no hub answers: {repo_id} is read by its name as {shape} of the catalogue",)


def from_name(model: str, options: dict[str, Any]) -> tuple[str, dict[str, Any], tuple[str, ...]]:
    """Return MODEL, options and notes of a repository that stands alone, as of one that a command serves."""
    from ..engines import MLX_ENGINE
    from ..engines.command_line import is_path
    from ..model.catalogue_names import catalogue_name
    from ..model.checkpoint_names import is_widened
    from ..model.mlx_forms import MADE_BY_IT
    from ..model.quantization_scheme import WIDENED

    if MADE_BY_IT.search(model.lower()) and not options.get("engine"):
        options = {**options, "engine": MLX_ENGINE}
    if is_path(model) or catalogue_name(model) or "gguf" in model.lower():
        return model, options, ()
    served, said = by_its_name(model, options.get("offline", False), options.get("revision"))
    if served == model:
        return model, options, ()
    given, of_form = with_form(options, model, known=False)
    if is_widened(model, served):
        given = {"hf_overrides": WIDENED, **given}
    return served, given, (*said, *of_form)


def from_path(place: str) -> tuple[str, tuple[str, ...]]:
    """Return (MODEL, notes) of a path without MODEL beside it: what lies there, or what the name of a GGUF
    file or of a published repository says."""
    from pathlib import Path

    from ..truth.reconcile.log_model import model_name, model_of_file, published_as

    try:
        if Path(place).expanduser().exists():
            return place, ()
    except (OSError, RuntimeError, ValueError):
        pass  # too long, no such home, a NUL: nothing lies there
    file = place.lower().endswith(".gguf")
    known = model_of_file(place) if file else published_as(place)[0]
    if not known:
        like = f"; {near} is one of that name" if (near := model_name(place)) else ""
        raise OomlessError(
            f"{place[:200]}: not on this machine", f"name MODEL beside it: its shape is taken{like}"
        )
    return known, (f"{place} is not on this machine: read by its name as {known} of the catalogue",)


def type_of(place: str) -> tuple[str, str]:
    """Return (type, note) of a GGUF file that is not read; a name without a type is refused, since it may be
    any."""
    from ..model.gguf_names import type_in_name

    found = type_in_name(place)
    if found is None:
        raise UsageError(
            f"{place[:200]}: the file is not read, and its name says no type",
            "say it beside the command: --quantization q4_k_m",
            "quantization",
        )
    return found, f"{found} is read from the file's name"


def with_type(given: dict[str, Any], place: str, served: str) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Return options with the type of a GGUF file that is not read, as its publisher makes it, and notes."""
    word, said = given.get("quantization"), list[str]()
    if "quantization" not in given and place.lower().endswith(".gguf"):
        word, note = type_of(place)
        said.append(note)
    return ({**given, "quantization": of_its_publisher(place, served, word)} if word else given), (*said,)


def of_its_publisher(place: str, served: str, word: str) -> str:
    """Return the type of a file that is read by its name, as who made it makes such files."""
    from .. import facts
    from ..model.gguf_builds import own_word
    from ..model.load import load

    for row in facts.table("catalogue"):
        if row["name"] == served:
            return own_word(place, row["hub_id"], load(served).family, served, word)
    return word


def from_saved(model: str | None, options: dict[str, Any]) -> tuple[str | None, dict[str, Any]]:
    """Return MODEL and options of an earlier answer; what stands beside it on our command line counts
    first."""
    from pathlib import Path

    from ..run.from_answer import read_answer

    saved_model, gpu, flags = read_answer(Path(options["from_file"]))
    ours = {name: value for name, value in options.items() if name != "from_file"}
    if ours.get("engine", flags.get("engine")) != flags.get("engine"):
        flags.pop("engine_version", None)  # another engine counts its releases otherwise
    return model or saved_model, {"gpu": gpu, **flags, **ours}
