"""What an engine loads beside the model that it serves, a draft or a tower for images: so much of each card
is kept back for it. Where a file's name does not say what it is, that is said instead."""

import re
from collections.abc import Callable, Mapping
from typing import Any

from ..engines import GGUF_ENGINE
from ..engines.llamacpp.command_line import DEFAULT_UBATCH, OF_REPOSITORY
from ..engines.llamacpp.fit import unseen_by_fit
from ..engines.llamacpp.release import LlamaRules, is_ik, rules_of
from ..engines.llamacpp.tower import first_picture, token_pixels, tower_bytes
from ..errors import OomlessError
from ..model.catalogue_names import catalogue_name
from ..model.gguf_names import type_in_name
from ..model.load import load
from ..run.hardware import parse_gpu
from ..run.serving import Asked
from ..truth.reconcile.log_model import model_name
from ..units import format_bytes, parse_bytes
from .serving import infer

Files = Callable[[str], tuple[str, str]]
"""Reads a GGUF file's name: (model, type)."""


def kept_back(
    given: dict[str, Any], served: str | None, beside: Mapping[str, str], files: Files
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Return (options, notes) with what the files beside the model take added to --reserve. A build whose
    --fit does not know of the tower fills the card up as if there were none.

    >>> kept_back({}, "qwen3-vl-8b", {"tower": "mmproj-F16.gguf"}, lambda file: ("", ""))[0]
    {'images_per_prompt': 1, 'reserve': '1408731072B'}
    """
    notes, total, unseen = [], 0, 0
    for what, file in beside.items():
        try:
            needed, name = (
                tower(given, served, file) if what == "tower" else draft(given, served, file, files)
            )
        except OomlessError:
            needed, name = 0, ""
        if not needed and file == OF_REPOSITORY:
            continue
        if not needed:
            notes.append(f"{file}: nothing is known of this {what}, which takes memory beside the model")
        elif what == "tower":
            notes.append(
                f"{file} is the tower of {name}: {format_bytes(needed)} of each card are kept for it"
            )
        else:
            notes.append(
                f"{file} is {name}, which drafts: {format_bytes(needed)} of each card are kept for it"
            )
        total += needed
        unseen += needed * (what == "tower")
    if unseen:
        given = {"images_per_prompt": 1, **unseen_by_fit(given, build_of(given), unseen)}
        if served and given.get("max_pixels"):  # tokens, as --image-max-tokens has them
            given["max_pixels"] *= token_pixels(load(served))
    if total:
        reserve = given.get("reserve")
        given = {**given, "reserve": f"{total + (parse_bytes(reserve) if reserve else 0)}B"}
    return given, tuple(notes)


def widened(given: dict[str, Any], batch: int) -> dict[str, Any]:
    """Return options with the micro-batch that a build of ik_llama.cpp makes of a batch of so many tokens (0:
    its own 2,048) where a tower is on the card.

    >>> build = {"engine": "ik-llamacpp", "engine_version": "2026-05", "ubatch_size": 512}
    >>> widened(build, 4096)["ubatch_size"], widened({**build, "engine": "llamacpp"}, 4096)["ubatch_size"]
    (4096, 512)
    """
    own = given.get("ubatch_size") or DEFAULT_UBATCH
    widens = is_ik(Asked(engine=given["engine"])) and build_of(given).widens_for_images
    return {**given, "ubatch_size": max(batch or BATCH, own)} if widens else given


def build_of(given: dict[str, Any]) -> LlamaRules:
    """Return what the build that options name does."""
    version = given.get("engine_version")
    return rules_of(Asked(engine=given.get("engine") or GGUF_ENGINE, engine_version=version))


BATCH = 2048
"""Tokens of a batch where nobody says how many (common.h, n_batch)."""


def tower(given: dict[str, Any], served: str | None, file: str) -> tuple[int, str]:
    """Return (bytes, model) of the tower of a model and of the buffer of its first picture."""
    if served is None:
        return 0, ""
    model = load(served)
    kind = (type_in_name(file) or "F16").upper()
    return tower_bytes(model, kind) + first_picture(model, build_of(given)), served


def length_of(given: dict[str, Any], served: str | None) -> int:
    """Return the context of a model that drafts, which is as long as the other's (tools/server).

    >>> [length_of({"engine": "llamacpp", "engine_version": day}, "qwen3-8b") for day in ("2024-08", "b5331")]
    [40960, 4096]
    """
    build = build_of(given)
    if said := given.get("max_model_len") or given.get("context") or build.default_context:
        return said
    return load(served).max_positions if served and not build.fits_itself else 4096


def draft(given: dict[str, Any], served: str | None, file: str, files: Files) -> tuple[int, str]:
    """Return (bytes, model) of a model that drafts: weights, a cache as long as the other's and a buffer; two
    of both, where the context that it was loaded with stays beside its slot's."""
    if found := OWN_LAYERS.match(file):
        return own_layers(given["gpu"], model_name(file[found.end() :]) or "")
    if file.lower().endswith(".gguf"):
        name, kind = files(file)
    else:
        repository, _, kind = file.partition(":")
        name = catalogue_name(repository) or ""
        if not name:
            return 0, ""
    asked = {
        "engine": given["engine"],
        "quantization": kind or "Q4_K_M",  # what -hf takes of itself (llama.cpp, common/arg.cpp)
        "max_model_len": length_of(given, served),
        "fit": False,
    }
    answer = infer(name, given["gpu"], offline=True, **asked)
    again = 1 + build_of(given).keeps_loaded_draft
    sizes = [
        sum(
            line.bytes * (1 if line.category == "weights" else again)
            for line in ledger.lines
            if line.key != "runtime.context"
        )
        for ledger in answer.ledgers
    ]
    return max(sizes), name


OWN_LAYERS = re.compile(r"dspark-(?=.*\.gguf$)", re.IGNORECASE)
"""How the files of layers are called that a model drafts with and that are not in its own file."""


def own_layers(gpu: str, name: str) -> tuple[int, str]:
    """Return (bytes, model) of a card's part of these layers, as published: llama.cpp lays them over the
    cards as it does the model. Their context is counted with the model.

    >>> own_layers("rtx-3090:2", "deepseek-v4-flash-0731")  # 10.12 GiB in all
    (5431419150, 'deepseek-v4-flash-0731')
    """
    size = sum(t.num_bytes for t in load(name).tensors if t.part == "mtp" and not t.copy_of)
    return -(-size // parse_gpu(gpu).num_gpus), name
