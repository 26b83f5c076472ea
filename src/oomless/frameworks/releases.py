"""What earlier releases of a framework's packages did otherwise: rows of facts/habits.csv, each with the
release that ended it."""

import re
from functools import lru_cache
from typing import NamedTuple

from .. import facts
from ..facts.release import Release, read_release


class Habits(NamedTuple):
    """Rules of earlier releases, by name; as they stand here the newest releases have none of them."""

    loss: str | None = None
    """Their plain loss (facts/losses.csv)."""
    loss_of: str | None = None
    """Families of models and the loss that theirs is, whatever that of others: "granitemoe in-place; llama4
    plain"."""
    log_probs: str | None = None
    """Their loss of the log-probabilities of whole logits (facts/losses.csv)."""
    sampled: str | None = None
    """Their loss of the log-probabilities of sampled tokens (facts/losses.csv)."""
    optimizer: str | None = None
    """Their optimizer where none is named."""
    seq_len: int = 0
    """Their tokens of a sample where nobody says."""
    experts_apart: bool = False
    """Each matrix of an expert is a module of its own, not a slice of a stack."""
    adapted_stacks: str = ""
    """When PEFT adapts stacked experts: never, or listed, where other matrices have the names of theirs;
    nothing: all-linear means them too."""
    checkpoints: str | None = None
    """How layers are computed again where nothing is said: reentrant, inside of a backward of their own, or
    plain."""
    inputs_on_card: bool = False
    """What full recomputation keeps stays on the card in the first step."""
    wide_norms: bool = False
    """Norms of a model in 4 or 8 bit are put into F32."""
    adapter_dtype: str | None = None
    """Type of adapters on weights of bitsandbytes."""
    adapter_products: str | None = None
    """Where matrices and adapters were one function: apart, nowhere that nobody asked; undropped, where
    adapters have no dropout."""
    precision: str | None = None
    """The recipe of full training and of adapters in 16 bit, where none is named."""
    recompute: str | None = None
    """Families of models, or any, and what they compute again where nothing is said: "kimi_vl none"."""
    attention: str | None = None
    """Families of models, or any, and the kernel of their attention where none is named: "gemma3 math"."""
    weights_stay: bool = False
    """ZeRO-3 gives up no module's weights in a backward through checkpoints that are not reentrant."""
    offload_step: str | None = None
    """Where DeepSpeed casts an offloaded partition of ZeRO-1 and 2 in the step: host, or card."""
    copies_sub_groups: bool = False
    """DeepSpeed makes F32 masters of a 16-bit copy of each sub-group."""
    wide_gradients: bool = False
    """DeepSpeed runs bfloat16 without ZeRO by its BF16_Optimizer."""
    loaded_whole: tuple[str, ...] = ()
    """Shardings before which each card has the whole model, "zero2/4" in so many bytes of what is trained in
    full, or families whose packed models FSDP moved."""
    rotary_tables: tuple[str, ...] = ()
    """Families of models whose layers each keep cosines and sines of every position, "gemma/4" in so many
    bytes; a scaling that has them too; a number: of no more positions, unless the sequence is longer."""
    originals_stay: bool = False
    """An optimizer of before FSDP1 divides the model stays with the scheduler, and its parameters with it."""
    keeps_layers: bool = False
    """A model in 4 bits is its maker's checkpoint, some of whose layers are in 16."""
    frozen_stay: bool = False
    """FSDP1 gives up no frozen weights that a backward gathered before it is over."""
    widens_frozen: bool = False
    """What FSDP2 divides is put into F32 before, frozen weights of 16 bit too."""
    loads_wide: bool = False
    """What FSDP divides is loaded in F32, unless it is packed."""
    reference_unshards: bool = False
    """Preparing the reference model switches ZeRO-1 and 2 off for the policy too."""
    grpo_reference: bool = False
    """GRPO compares with a frozen reference where nothing is said."""
    batch_of_prompts: bool = False
    """GRPO's batch counts prompts, each of which runs with all its answers."""
    scores_after: bool = False
    """GRPO's reference runs beside the policy's activations, and the weights that an engine was sent."""
    sends_whole: bool = False
    """ZeRO-3 gathers the whole policy for an engine of GRPO, trained in full too."""
    ends_in_root: bool = False
    """FSDP2 has embedding and head in the root unit, which stays whole, as does the last layer, from forward
    to backward."""
    fixed_segments: bool = False
    """It leaves the allocator's segments as they are, beside an engine on the same cards."""
    written_norms: bool = False
    """RMS norms keep an F32 copy of their input, which torch's kernel does not."""
    evaluation: str | None = None
    """Which logits an evaluation makes where Liger's loss trains without any: whole, or those of answers."""
    whole_logits: tuple[str, ...] = ()
    """Families of models whose forward makes logits of prompts too, whatever a trainer reads."""
    masks_images: tuple[str, ...] = ()
    """Families whose towers mask patches of other images: scores of each head, of each patch with each."""
    unchecked_towers: tuple[str, ...] = ()
    """Families whose towers compute no block again."""
    towers_flow: bool = False
    """Gradients flow through a frozen tower where inputs of embeddings are told to need them."""
    images_beside: bool = False
    """A length bounds a sample's text alone: its images come beside it."""
    max_pixels: int = 0
    """Pixels of an image where nobody says."""
    splits_data: bool = False
    """A part of the data is evaluated where nothing is said."""
    records_streams: bool = False
    """NCCL's groups record their stream on what they send, whose blocks wait for the card."""
    packed_inputs: str = ""
    """What bitsandbytes' product keeps of its input: kept, or twice, where the last micro-batch's stay until
    there is a new loss."""
    resends: bool = False
    """Op-level recomputation keeps no row that experts were sent, and sends it again."""
    value_is_head: bool = False
    """PPO's value model is a head on the policy."""
    copies_moments: bool = False
    """Adam makes F32 copies of bfloat16 moments in its step, of one group of parameters at a time."""
    tiles: tuple[str, ...] = ()
    """Families of models, or any, whose experts run in tiles where dense feed-forwards may, and tokens of a
    tile; 0: the model's width. Nothing: it has no tiles."""


@lru_cache(maxsize=256)
def habits(framework: str, packages: tuple[str, ...], version: str | None) -> Habits:
    """Return what the releases that a question names did otherwise than the newest ones.

    `version` names packages ("transformers 4.48.1, trl 0.13.0"), or the framework's own release alone; of a
    package whose habits end on days, a day too. Only releases of `packages` change the framework. What no
    release ended holds in all of them. A row without a value leaves it to the packages in later rows.

    >>> [habits("torchtitan", ("torchtitan",), day).loss for day in ("torchtitan 2024-03-26", "0.1.0")]
    ['plain-2024-05', None]
    >>> trainer = ("transformers",)
    >>> habits("transformers", trainer, "4.48.1").loss
    'plain-4.49'
    >>> habits("axolotl", trainer, "transformers 4.45.2").loss
    'plain-4.45'
    >>> habits("torchtitan", (), "transformers 4.40") == Habits()
    True
    >>> habits("transformers", trainer, None).attention
    'bloom gpt_neo mpt kimi_vl eager'
    >>> of = ("transformers", "llamafactory")
    >>> [
    ...     habits("llama-factory", of, f"transformers 4.35, llamafactory {each}").attention
    ...     for each in ("0.3.3", "0.5.3")
    ... ]
    ['any eager', 'any eager']
    """
    found: dict[str, str] = {}
    silent: set[tuple[str, str]] = set()
    for row in facts.table("habits"):
        package, until = row["package"], row["until"]
        if package not in packages or framework not in (row["framework"] or framework).split():
            continue
        release = named(version or "", package, framework == package)
        if release and "-" in until:
            release = as_day(package, release)
        if not until or (release and release < read_release(until)):
            if not row["value"]:
                silent.add((package, row["habit"]))
            elif (package, row["habit"]) not in silent:
                found.setdefault(row["habit"], row["value"])
    return _by_name(found)


def _by_name(found: dict[str, str]) -> Habits:
    return Habits(
        loss=found.get("loss"),
        loss_of=found.get("loss_of"),
        log_probs=found.get("log_probs"),
        sampled=found.get("sampled"),
        optimizer=found.get("optimizer"),
        seq_len=int(found.get("seq_len", 0)),
        experts_apart=found.get("experts") == "apart",
        adapted_stacks=found.get("stacks", ""),
        checkpoints=found.get("checkpoints"),
        inputs_on_card=found.get("inputs") == "card",
        wide_norms=found.get("prepared") == "norms",
        adapter_dtype=found.get("adapters"),
        adapter_products=found.get("adapter_products"),
        precision=found.get("precision"),
        recompute=found.get("recompute"),
        attention=found.get("attention"),
        weights_stay=found.get("gathered") == "stays",
        offload_step=found.get("offload_step"),
        copies_sub_groups=found.get("masters") == "copied",
        wide_gradients=found.get("gradients") == "wide",
        loaded_whole=tuple(found.get("loaded", "").split()),
        rotary_tables=tuple(found.get("rotary", "").split()),
        originals_stay=found.get("originals") == "stay",
        keeps_layers=found.get("kept") == "some",
        frozen_stay=found.get("frozen") == "stay",
        widens_frozen=found.get("frozen_types") == "wide",
        loads_wide=found.get("loaded_types") == "wide",
        reference_unshards=found.get("reference_engine") == "shared",
        grpo_reference=found.get("reference") == "grpo",
        batch_of_prompts=found.get("batch") == "prompts",
        scores_after=found.get("scores") == "after",
        sends_whole=found.get("sent_weights") == "whole",
        ends_in_root=found.get("ends") == "root",
        fixed_segments=found.get("segments") == "fixed",
        written_norms=found.get("norms") == "written",
        evaluation=found.get("evaluation"),
        whole_logits=tuple(found.get("answers", "").split()),
        masks_images=tuple(found.get("masked", "").split()),
        unchecked_towers=tuple(found.get("unchecked", "").split()),
        towers_flow=found.get("tower") == "flows",
        images_beside=found.get("images") == "beside",
        max_pixels=int(found.get("max_pixels", 0)),
        splits_data=found.get("data") == "split",
        records_streams=found.get("sent") == "recorded",
        packed_inputs=found.get("packed_inputs", ""),
        resends=found.get("exchanges") == "again",
        value_is_head=found.get("value_model") == "head",
        copies_moments=found.get("moments") == "copied",
        tiles=tuple(found.get("tiles", "").split()),
    )


def by_days(package: str) -> bool:
    """Return whether what a package did otherwise ended on days, since it is run from its main branch.

    >>> by_days("torchtitan"), by_days("trl")
    (True, False)
    """
    return any(row["package"] == package and "-" in row["until"] for row in facts.table("habits"))


FIRST_YEAR = 2000
"""The first number of a day is no smaller; of a version it is."""


def as_day(package: str, release: Release) -> Release:
    """Return the day of a release, of a package whose habits end on days; a day is one already."""
    if release[0] >= FIRST_YEAR:
        return release
    days = [
        row["date"]
        for row in facts.table("releases")
        if row["package"] == package and read_release(row["release"]) <= release
    ]
    return read_release(days[-1]) if days else ()


def named(text: str, package: str, alone: bool) -> Release | None:
    """Return the release of a package in a text; `alone`: a bare number is its."""
    number = r"(\d+(?:[.-]\d+)*)"
    found = re.search(rf"\b{package} {number}(?![0-9a-f]{{5}})", text) or (
        re.fullmatch(rf"v?{number}", text.strip()) if alone else None
    )
    return read_release(found[1]) if found else None


def names_release(framework: str, packages: tuple[str, ...], said: str) -> bool:
    """Return whether a text names a release of one of the packages that a framework goes by.

    >>> [names_release("unsloth", ("unsloth",), said) for said in ("2025.9", "transformers 4.57")]
    [True, False]
    """
    return any(named(said, package, framework == package) for package in packages)


def on_day(framework: str, packages: tuple[str, ...], said: str, day: str) -> str | None:
    """Return the releases of a run: those that it names, and of other packages the newest ones of its day;
    of a day before all that are known, the first. A bare number is the framework's own release.

    >>> on_day("transformers", ("transformers", "torch"), "torch 2.4.0", "2024-12-05")
    'transformers 4.47, torch 2.4.0'
    >>> on_day("trl", ("transformers", "trl"), "0.21", "2025-08-05")
    'transformers 4.54, trl 0.21'
    """
    own = framework in packages and named(said, framework, True)
    if own and framework not in said:
        said = f"{framework} {said}"
    first = {each["package"]: each["release"] for each in reversed(facts.table("releases"))}
    missing = [
        package
        for package in packages
        if package in first and (not named(said, package, False) if by_days(package) else package not in said)
    ]
    newest = [
        f"{package} {day if by_days(package) else release_of(package, day) or first[package]}"
        for package in missing
        if day
    ]
    return ", ".join([*newest, *([said] if said else [])]) or None


def release_of(package: str, day: str) -> str | None:
    """Return the newest release of a package on a day (or month, or year: on its first day).

    >>> [release_of("transformers", day) for day in ("2024-12-05", "2023-10-13", "2023")]
    ['4.47', '4.32', None]
    """
    return next(
        (
            row["release"]
            for row in reversed(facts.table("releases"))
            if row["package"] == package and row["date"] <= day
        ),
        None,
    )
