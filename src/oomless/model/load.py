"""MODEL -> Model: a short name, a hub id, a folder, a config.json, a safetensors file. A name without a match
is an error."""

import os
from functools import cache
from typing import TYPE_CHECKING, Any

from .. import facts
from ..errors import HubSilent, OomlessError, UsageError, did_you_mean
from ..files import shown
from .catalogue_names import GGUF, catalogue_name
from .config import MODELOPT_FILE, read_config, with_modelopt
from .families import build
from .model import Model
from .storage import F32

if TYPE_CHECKING:
    from pathlib import Path

FILE_SUFFIXES = (".json", ".safetensors", ".gguf")


def load(name: "str | os.PathLike[str]", *, offline: bool = False, revision: str | None = None) -> Model:
    """The model that a word means; what the user names explicitly (a path, a hub id) is read, nothing is
    guessed.

    >>> load("deepseek-r1").num_parameters
    671026419200
    """
    if isinstance(name, os.PathLike):
        name = os.path.join(
            ".", os.fspath(name)
        )  # what is given as a path is no name, whatever it looks like
    if not isinstance(name, str):
        raise UsageError(
            f"a model is no {type(name).__name__}", "name it as `oomless models` does, by hub id or by path"
        )
    if revision is not None and not isinstance(revision, str):
        raise UsageError(
            f"a revision is no {type(revision).__name__}", "give a branch, a tag or a commit", "revision"
        )
    name = hub_id_of(name)
    if is_local(name):
        from pathlib import Path  # a catalogue name needs no paths

        try:
            return load_path(Path(name).expanduser())
        except (
            OSError,
            RuntimeError,
            ValueError,
        ) as error:  # too long, no such home, a NUL: the system's own words
            raise OomlessError(
                f"{name[:200]}: not a path that can be read ({error})", "check the path"
            ) from None
    if name.count("/") == 1 and not name.startswith("-"):
        return load_hub(name, offline, revision)
    if revision is not None:
        raise UsageError("--revision is for hub repositories", f"{name} is a catalogue name: leave it out")
    return load_catalogue(name)


def is_local(name: str) -> bool:
    """Return whether a word means a file or folder of this machine.

    >>> is_local("./config.json"), is_local("deepseek-r1")
    (True, False)
    """
    return name.endswith(FILE_SUFFIXES) or name.startswith((".", "/", "~")) or os.path.isdir(name)


HUB_PAGES = (
    "https://huggingface.co/",
    "http://huggingface.co/",
    "huggingface.co/",
    "https://hf.co/",
    "hf.co/",
)


def hub_id_of(name: str) -> str:
    """Return the hub id that the address of a model's page names; any other name as it is.

    >>> hub_id_of("https://huggingface.co/deepseek-ai/DeepSeek-V3/tree/main"), hub_id_of("deepseek-v3")
    ('deepseek-ai/DeepSeek-V3', 'deepseek-v3')
    """
    page = next((page for page in HUB_PAGES if name.startswith(page)), "")
    return "/".join(name.removeprefix(page).split("/")[:2]) if page else name


def config_document(
    name: str, *, offline: bool = False, revision: str | None = None
) -> tuple[str, dict[str, Any]]:
    """(name, config.json as published) of what `load` would read: what a library needs to build the model
    itself.

    >>> config_document("deepseek-ai/DeepSeek-V3")[1]["model_type"]
    'deepseek_v3'
    """
    name = hub_id_of(name)
    if is_local(name):
        from pathlib import Path

        path = Path(name).expanduser()
        if path.suffix == ".gguf":
            raise UsageError(
                f"{name}: a GGUF file has no config", "give the model's config.json or its hub id"
            )
        if not path.exists():
            raise OomlessError(
                f"{path}: no such file or folder", "check the path; `oomless models` lists catalogue names"
            )
        folder = path if path.is_dir() else path.parent
        config = (
            path
            if path.suffix == ".json" and not path.name.endswith(".index.json")
            else folder / "config.json"
        )
        if not config.exists():
            raise without_config(path, folder)
        return (
            config.resolve().parent.name if config.name == "config.json" else config.stem
        ) or "model", read_config(config)
    found = catalogue_name(name)
    if name.count("/") == 1 and not name.startswith("-"):
        from .hub import read_repository

        try:
            return name.rpartition("/")[2].lower(), read_repository(
                name, revision=revision, offline=offline
            ).config
        except UsageError:
            raise
        except OomlessError:
            if found is None:
                raise
    if found is None:
        found = name_in_library(name)
    return found, facts.model_config(found)


@cache
def load_catalogue(name: str) -> Model:
    """The model of a catalogue name or of another spelling of it."""
    found, notes = catalogue_name(name), list[str]()
    if found is None:
        found = name_in_library(name)
        notes.append(f"{name} is read as {found} of the catalogue, as Ollama's library means it")
    model = with_copies(build(facts.model_config(found), found, f"catalogue {found}"))
    return model._replace(warnings=(*model.warnings, *notes)) if notes else model


def name_in_library(name: str) -> str:
    """Return the catalogue's name of what Ollama's library calls so."""
    from .library_names import library_model

    found, _ = library_model(name)
    if not found:
        known = [row["name"] for row in facts.table("catalogue")]
        hint = did_you_mean(name.rpartition("/")[2], known, "oomless models")
        if name.endswith((".yaml", ".yml", ".toml")):
            hint = "a file that starts a run is read by `train --from FILE` and `infer --command @FILE`"
        raise UsageError(f"unknown model {name[:200]!r}", hint)
    return found


def load_path(path: "Path") -> Model:
    """The model of a folder, a config.json, or a safetensors file or index with its config beside it."""
    if path.suffix == ".gguf":
        from .gguf import read_all_parts
        from .gguf_metadata import model_from_gguf

        return model_from_gguf(read_all_parts(path), path.stem.lower(), str(path))
    if not path.exists():
        raise OomlessError(
            f"{path}: no such file or folder", "check the path; `oomless models` lists catalogue names"
        )
    folder = path if path.is_dir() else path.parent
    config_path = (
        path if path.suffix == ".json" and not path.name.endswith(".index.json") else folder / "config.json"
    )
    if not config_path.exists():
        raise without_config(path, folder)
    name = config_path.resolve().parent.name if config_path.name == "config.json" else config_path.stem
    config = read_config(config_path)
    beside = folder / MODELOPT_FILE
    if not config.get("quantization_config") and config_path.name == "config.json" and beside.is_file():
        config = with_modelopt(config, read_config(beside))
    model = build(config, name or "model", str(config_path))
    if path == config_path:
        return model
    from .checkpoint import gaps, read_checkpoint  # only a checkpoint needs it

    stored = read_checkpoint(path)
    if not stored:
        return model
    in_f32 = sum(tensor.num_bytes for tensor in stored if tensor.dtype == "F32")
    found = with_headers(narrowed(model, in_f32), sum(tensor.num_bytes for tensor in stored), f"{path}")
    if found.stored_bytes >= found.explained_bytes:
        return found
    missing = gaps(tensor.name for tensor in stored)
    notes = (
        f"{path} lacks {shown(each, MOST_OF_NAME)}, which the layers around it have"
        for each in missing[:MOST_NAMED]
    )
    return found._replace(warnings=(*found.warnings, *notes))


def load_hub(repo_id: str, offline: bool, revision: str | None) -> Model:
    """The model of a hub repository: config and totals from hub or cache; offline, what the catalogue knows
    of it serves too, and where no hub answers."""
    from .hub import read_repository

    known = catalogue_name(repo_id)
    if known and repo_id.lower().endswith(GGUF):
        model = load_catalogue(known)
        note = (
            f"{repo_id} is read as {known} of the catalogue, its types as llama-quantize chooses "
            "them; the file itself says them exactly"
        )
        return model._replace(warnings=(*model.warnings, note))
    try:
        repository = read_repository(repo_id, revision=revision, offline=offline)
    except UsageError:
        raise
    except OomlessError as error:
        silent = isinstance(error, HubSilent) and revision is None
        if known is None or not (offline or silent):
            from .checkpoint_names import instead_of

            raise type(error)(error.message, error.hint + instead_of(repo_id, known)) from None
        note = (
            f"{repo_id} is not in the cache: answered from the catalogue's facts"
            if offline
            else f"{repo_id} is asked of a hub that does not answer: answered from the catalogue's facts"
        )
        model = load_catalogue(known)
        return model._replace(warnings=(*model.warnings, note))
    model = build(repository.config, repo_id.rpartition("/")[2].lower(), repo_id)
    if repository.checkpoint_bytes is None:
        return model
    ratio = repository.checkpoint_bytes / max(model.checkpoint_bytes, 1)
    if repository.stored is None and not 1 / MOST_APART <= ratio <= MOST_APART:
        raise OomlessError(
            f"{repo_id}: the hub says that its files hold {repository.checkpoint_bytes:,} bytes of tensors, "
            f"its config explains {model.checkpoint_bytes:,}",
            "one of the two is wrong: fetch the files and give their folder",
        )
    in_f32 = 4 * (repository.elements_by_dtype or {}).get("F32", 0)
    return with_headers(
        narrowed(model, in_f32), repository.checkpoint_bytes, f"{repo_id} ({repository.source})"
    )


MOST_APART = 10
"""Times by which totals of a hub and a config may differ: a wrong total is no verdict."""


def narrowed(model: Model, stored_in_f32: int) -> Model:
    """Return a model whose config is of 16 bit with what its files hold in F32 beyond that explained: engines
    cast it on loading.

    >>> small = load("qwen3-0.6b")
    >>> doubled = narrowed(small, 2 * small.checkpoint_bytes)
    >>> doubled.explained_bytes == 2 * small.checkpoint_bytes, doubled.warnings
    (True, ('1,503,264,768 bytes of weights are stored in F32 beyond what bfloat16 takes: cast on loading',))
    """
    own = sum(tensor.num_bytes for tensor in model.tensors if tensor.format == F32)
    beyond = (stored_in_f32 - own) // 2
    if beyond <= 0 or model.dtype.bits != 16 or model.quantization:
        return model
    note = (
        f"{beyond:,} bytes of weights are stored in F32 beyond what {model.dtype.name} takes: cast on loading"
    )
    return model._replace(explained_bytes=model.explained_bytes + beyond, warnings=(*model.warnings, note))


MOST_NAMED, MOST_OF_NAME = 3, 100
"""Missing tensors, and characters of a name, that a note says."""


def without_config(path: "Path", folder: "Path") -> OomlessError:
    """Return what a path is where no config lies beside it: an adapter, another file, or weights alone."""
    if (folder / "adapter_config.json").is_file():
        return OomlessError(
            f"{folder} is an adapter: no config.json",
            "name the model it was made for; vLLM's --enable-lora --max-lora-rank count it",
        )
    if path.is_file() and path.suffix not in (".json", ".safetensors"):
        return OomlessError(
            f"{path} is no model", "name a folder with config.json, the config itself, or a GGUF file"
        )
    return OomlessError(f"{folder}: no config.json", "the config of the model is needed beside its weights")


def with_headers(model: Model, stored_bytes: int, where: str) -> Model:
    """The model with what its headers say: they are the truth, the config is checked against them."""
    implied = model.explained_bytes
    model = model._replace(stored_bytes=stored_bytes)
    if stored_bytes == implied:
        return model
    note = f"{where} holds {stored_bytes:,} bytes of tensors, its config explains {implied:,}"
    return model._replace(warnings=(*model.warnings, note))


def with_copies(model: Model) -> Model:
    """The model with tensors that its published checkpoint stores twice, which no config says."""
    copies = []
    for row in facts.rows_with("stored_copies", model.name):
        if row["model"] == model.name:
            original = next(tensor for tensor in model.tensors if tensor.name == row["copy_of"])
            copies.append(original._replace(name=row["name"], copy_of=row["copy_of"]))
    if not copies:
        return model
    explained = model.explained_bytes + sum(tensor.num_bytes for tensor in copies)
    return model._replace(tensors=(*model.tensors, *copies), explained_bytes=explained)
