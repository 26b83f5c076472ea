"""What drafts beside the model that is served: another model, or a head that was made for it."""

from typing import TYPE_CHECKING

from ...engines import engine, engines
from ...engines.command_line import own_flags
from ...errors import OomlessError, UnsupportedError, UsageError
from ...model.attention import V4, V41
from ...model.catalogue_names import catalogue_name
from ...model.drafting import with_draft
from ...model.load import config_document, is_local, load
from ...model.model import Model
from ...run.serving import Asked
from ...run.speculation import Speculation

if TYPE_CHECKING:
    from ...model.draft_head import DraftHead


def beside_draft(model: Model, asked: Asked, offline: bool) -> Model:
    """Return a model with the one that drafts for it, or with the head that does, where the question names
    one."""
    said = asked.speculation
    if said is not None and said.draft and not (said.head or said.drafter):
        return beside_named(model, asked, said, said.draft, offline)
    if said is None or not (said.drafter or said.head):
        return model
    return beside_head(model, asked, said, offline) if said.head else beside_model(model, asked, offline)


BY_CONFIG = ("EAGLE", "NEXTN")
"""SGLang's words for a draft of the class that its own config names."""
STAGES = (V4, V41)
"""Attention of models whose checkpoints have DSpark as stages of their own."""


def beside_named(model: Model, asked: Asked, said: Speculation, name: str, offline: bool) -> Model:
    """Return a model and the draft that a method of its own layers is given beside it. DSpark's is a head but
    of models with such stages (models/dspark.py). For a model without MTP layers SGLang's EAGLE loads what
    the draft's config names: a model of the catalogue whole, be it the target again (eagle_worker.py;
    configs/model_config.py makes layers for drafting of those models alone that have some; sglang#6875),
    another is a head.

    >>> target, said = load("llama-3.1-70b"), Speculation("EAGLE", 4, draft="meta-llama/Llama-3.1-70B")
    >>> asked = Asked(engine="sglang", speculation=said)
    >>> len(beside_draft(target, asked, offline=True).draft)
    80
    >>> asked = asked._replace(speculation=said._replace(draft="org/head"))
    >>> len(beside_draft(target, asked, offline=True).draft)
    1
    >>> asked = Asked(engine="sglang", speculation=Speculation("DSPARK", 7, draft="org/Qwen3.8-27B-DSpark"))
    >>> len(beside_draft(load("qwen3.8-27b"), asked, offline=True).draft)
    5
    """
    known, of_stages = catalogue_name(name), said.method.lower() == "dspark"
    if of_stages and not known and not model.kinds.has(*STAGES):
        return beside_head(model, asked, said, offline)
    if said.method not in BY_CONFIG or model.draft:
        return model
    if known:
        return with_draft(model, load(known, offline=offline))
    return beside_head(model, asked, said, offline)


def beside_model(model: Model, asked: Asked, offline: bool) -> Model:
    """Return a model with another one beside it; one that is named as its own draft loads its MTP layers
    alone (vLLM's config/speculative.py, hf_config_override, of 0.7.3 and later)."""
    name = asked.speculation.drafter if asked.speculation else None
    if model.draft and model.name in (name, catalogue_name(name or "")):
        return model
    if not engine(asked.engine).draft_models:
        known = ", ".join(each.name for each in engines() if each.draft_models)
        raise UnsupportedError(
            f"{asked.engine} with a model that drafts is not known", f"known are {known}", "speculation"
        )
    return with_draft(model, load(catalogue_name(name or "") or name or "", offline=offline))


def beside_head(model: Model, asked: Asked, said: Speculation, offline: bool) -> Model:
    """Return a model with a head beside it: of the table, by its own config, or assumed to be as others
    are."""
    from ...model.draft_head import assumed_head, model_of_head  # few questions have one

    kind, name = said.head or said.method.lower().replace("nextn", "eagle"), said.draft
    check_release(asked, kind)
    known = known_head(name, kind, offline) if name else None
    if known is not None:
        check_fit(known, model, name or "")
    head = model_of_head(known or assumed_head(model, kind), model, name or kind)
    if known is None:
        from ...model.gguf_types import SizeSpread

        note = (
            f"the shape of the head {name or kind} is not known: a layer with the sizes of {model.name} is "
            "assumed; the folder of the head, or its config.json, says it"
        )
        head = head._replace(size_spread=SizeSpread(ASSUMED_SIZE, ASSUMED_SIZE), warnings=(note,))
    return with_draft(model, head, shares=True)


ASSUMED_SIZE = (1.0, 1.5)
"""Ends of a head's size in those that are assumed: SpecForge's for DeepSeek-V3 is 1.22 times as large, and
lightseekorg/kimi-k2.6-eagle3 with 3B values 1.27 to 1.48 times."""


def known_head(name: str, kind: str, offline: bool) -> "DraftHead | None":
    """Return the shape of a head of the table, or of one whose config can be read."""
    from ...model.draft_head import published_head, read_head

    found = published_head(name)
    if found is not None:
        return found
    try:
        where, values = config_document(name, offline=offline)
    except UsageError:
        return None
    except OomlessError:
        if is_local(name):
            raise
        return None
    return read_head(values, kind, where)


def check_fit(head: "DraftHead", model: Model, name: str) -> None:
    """Refuse a head whose output head would be the model's, and is not as wide."""
    if not head.vocab and head.hidden != model.hidden_size:
        raise UsageError(
            f"the head {name} has a hidden size of {head.hidden:,}, {model.name} of {model.hidden_size:,}",
            "a head is made for one model",
            "speculation",
        )


def check_release(asked: Asked, kind: str) -> None:
    """Refuse a head of a kind that the engine's release does not load."""
    rules = engine(asked.engine)
    heads = rules.draft_heads(asked.engine_version) if rules.draft_heads else ()
    if kind in heads:
        return
    known = ", ".join(each.name for each in engines() if each.draft_heads)
    if rules.draft_heads is None:
        raise UnsupportedError(
            f"{asked.engine} with a head that drafts is not known", f"known are {known}", "speculation"
        )
    raise UnsupportedError(
        f"{asked.engine} {asked.engine_version} loads no {kind} head", "take a later release", "speculation"
    )


def drafts_with(name: str, said: Speculation) -> bool:
    """Return whether an engine's newest release drafts so.

    >>> [drafts_with(name, Speculation("eagle3")) for name in ("vllm", "sglang", "trtllm", "llamacpp")]
    [True, True, True, False]
    """
    rules = engine(name)
    if said.head:
        return rules.draft_heads is not None and said.head in rules.draft_heads(None)
    return rules.draft_models if said.drafter else "speculation" in own_flags(name)
