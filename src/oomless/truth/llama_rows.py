"""A measured row of llama.cpp or ik_llama.cpp -> what its configuration gives: cache, compute buffer, tensor
bytes of the file."""

import re
from collections.abc import Mapping

from ..engines.llamacpp import LLAMACPP
from ..engines.llamacpp.release import IK_BUILDS
from ..engines.rank import Stage
from ..errors import UnsupportedError
from ..model.attention import V4
from ..model.catalogue_names import catalogue_name
from ..model.feedforward import MoE
from ..model.gguf_mixes import KvB
from ..model.load import load
from ..model.model import Model
from ..run.cards import Hardware, synthetic
from ..run.serving import Asked, Layout, Resolved
from ..run.speculation import Speculation
from ..units import TIB
from .engine_rows import engine_of

WHOLE = Hardware(synthetic(16 * TIB, "any card"), 1, 1)
"""Sums over all devices do not depend on the cards."""
PLAIN = r"I?Q\d_\w+|BF16|F16|MXFP4"
"""File types that say what each tensor is, but for those that end with _R4 and _R8."""
UNKNOWN_MIX, INTERLEAVED_MIX = "Q4_K_M", "Q4_K_R4"
"""What a file that is not named, or a mix by hand, is taken for where copies of the host's matrices count:
four bits, in ik_llama.cpp interleaved when loaded (-rtr)."""
LAST_WITH_ALL_LOGITS = "2026-05"
HOST = WHOLE._replace(card=WHOLE.card._replace(vendor="generic"))
APPLE = WHOLE._replace(card=WHOLE.card._replace(vendor="Apple"))
VULKAN = WHOLE._replace(card=WHOLE.card._replace(vendor="Vulkan"))
"""Cards of any maker by another backend than CUDA's, which has rules of its own."""
BACKENDS = {"CPU": HOST, "Apple": APPLE, "Vulkan": VULKAN}
"""By the first word of a row's card."""


def predict_llama(row: dict[str, str], quantity: str) -> tuple[float, float, float]:
    """(predicted, low, high) in bytes."""
    from .tables import Incomplete

    name = catalogue_name(row["model"]) or catalogue_name(re.sub(r"\s*\(.*\)$", "", row["model"]))
    if name is None:
        raise UnsupportedError(f"model {row['model']} is not in the catalogue")
    model = load(name)
    if quantity == "weights_per_gpu":
        return _file(model, row)
    if quantity not in ("kv_bytes_per_gpu", "kv_bytes_per_token", "compute_buffer"):
        raise UnsupportedError(f"{quantity} of llama.cpp is not predicted")
    if not row["context_len"].isdecimal():
        raise Incomplete("context_len is not given")
    if row["engine_version"].startswith("PR ") or (
        "branch" in row["engine"] and quantity == "kv_bytes_per_gpu"
    ):
        raise Incomplete(f"{row['engine']} {row['engine_version']} is a branch, no build")
    if quantity == "compute_buffer" and "ub" not in row["batch_or_parallel"] + row["other_flags"]:
        raise Incomplete("the micro-batch is not given, and the buffer depends on it")
    if quantity.startswith("kv_bytes") and model.kinds.has(V4):
        if "SWA cells" in row["other_flags"]:
            raise Incomplete("the row counts one part of the cache")
        if not re.search(r"parallel \d+|\d+ seq", row["batch_or_parallel"]):
            raise Incomplete("the number of slots is not given, and V4 keeps rows for each")
    hardware = BACKENDS.get(row["gpu"].partition(" ")[0], WHOLE)
    asked = LLAMACPP.resolve(model, hardware, _asked(row, model), Layout(pp=_num_devices(row)))
    if quantity == "compute_buffer":  # the log's first device, which has the output only if it is alone
        line = LLAMACPP.budget_lines(model, asked, hardware, LLAMACPP.stages(model, asked)[0]).charged[0]
        return line.bytes, line.low_bytes, line.high_bytes
    found = _cache(model, asked, quantity)
    if asked.cache_type_v == "f16" or row["kv_dtype"].startswith("K ") or "fa=" in row["other_flags"]:
        return found, found, found
    # one type is named, and quantised values need flash attention, of which nothing is said: keys alone may
    # have it
    return found, found, _cache(model, asked._replace(cache_type_v="f16"), quantity)


def _cache(model: Model, asked: Resolved, quantity: str) -> float:
    """Bytes of a token, or of the asked load."""
    layout = LLAMACPP.cache_layout(model, asked, Stage(0, 1, 0, len(model.layers)))
    if quantity == "kv_bytes_per_token":
        return layout.token_bytes
    if layout.fixed_bytes:
        return LLAMACPP.needed_bytes(layout, asked)
    return layout.token_bytes * asked.context * asked.concurrency


def _file(model: Model, row: dict[str, str]) -> tuple[float, float, float]:
    """Tensor bytes of the file, all devices together, or of the cards if the row says how many layers lie
    there.

    Plain file types say what each tensor is, and so do published mixes; whether an importance matrix was used
    no word says.
    """
    from ..model.gguf_mixes import REPACKED, published
    from ..model.gguf_model import as_gguf
    from .tables import Incomplete

    word = row["quant"].removesuffix(" mix")
    known = published(model.name, word) is not None
    if not known and (
        not re.fullmatch(PLAIN, word) or (word.endswith(("_R4", "_R8")) and word not in REPACKED)
    ):
        raise UnsupportedError(
            f"the types of {row['quant']!r} are chosen by hand: only the file's header says them"
        )
    offloaded = re.search(r"(\d+)/\d+ layers", row["other_flags"])
    if offloaded:
        num = int(offloaded[1])
        asked = Asked(
            engine=LLAMACPP.name, engine_version=_build(row, {}), quantization=word, n_gpu_layers=num
        )
        asked = LLAMACPP.resolve(model, WHOLE, asked, Layout())
        (stage,) = LLAMACPP.stages(model, asked)
        card = APPLE if row["gpu"].startswith("Apple") else WHOLE
        on_cards = sum(group.total_bytes for group in LLAMACPP.placed_weights(model, asked, card, stage))
        return on_cards, on_cards, on_cards
    if row["gpu"] == "CPU" and not row["other_flags"]:
        if row["engine"] != "Ollama":
            raise Incomplete("whether cards hold layers too is not given")
        file = as_gguf(
            model, word
        )  # Ollama fills the cards by itself: what the host keeps is the embedding, if they hold the rest
        embedding = next(
            tensor.num_bytes for tensor in file.tensors if tensor.name.startswith("model.embed_tokens")
        )
        return embedding, embedding, file.checkpoint_bytes
    both = "ik_llama" in row["engine"] and row["engine_version"].startswith("ik")
    forms: tuple[KvB, ...] = ("whole", "both" if both else "split")
    sizes = [
        as_gguf(model, word, kv_b, imatrix).checkpoint_bytes
        for kv_b in forms
        for imatrix in (None, True, False)
    ]
    return sizes[0], min(sizes), max(sizes)


def _num_devices(row: dict[str, str]) -> int:
    """Cards that the layers are dealt over, as the row says: 16x RTX 3090, or the log's devices."""
    said = re.search(r"devices=(\d+)", row["other_flags"]) or re.match(r"(\d+)\s?x ", row["gpu"])
    return int(said[1]) if said else 1


def _count(flags: Mapping[str, str], name: str) -> int:
    """Return a whole number of a row's flags; 0 where it has none."""
    from .tables import Incomplete

    text = flags.get(name, "0")
    if not (text.isascii() and text.isdecimal()):
        raise Incomplete(f"{name}={text} is no whole number")
    return int(text)


def _asked(row: dict[str, str], model: Model) -> Asked:
    """The question in llama.cpp's own words. The table's context is the log's n_ctx, which all slots share
    out.

    Experts lie on the host if the row says so, or if their rows are interleaved (_R4, _R8), a layout made for
    processors.
    """
    flags = dict(re.findall(r"(\w+)=([\w-]+)", row["other_flags"]))
    batch = row["batch_or_parallel"]
    micro = re.search(r"n_ubatch (\d+)|ub (\d+)", batch)
    slots = re.search(r"parallel (\d+)|(\d+) seqs?\b", batch)
    num_slots = int(slots[1] or slots[2]) if slots else 1
    layers = re.search(r"(\d+)/\d+ layers", row["other_flags"])
    build = _build(row, flags)
    if row["engine"] == "llama.cpp (python)":
        # a library keeps the logits of all tokens; llama-server alone asks for fewer
        build = min(build or LAST_WITH_ALL_LOGITS, LAST_WITH_ALL_LOGITS)
    rules = engine_of(row["engine"]) or LLAMACPP
    keys, values = _types(row["kv_dtype"])
    expanded = _mla_mode(row["kv_dtype"], flags)
    ik = rules.name == IK_BUILDS.engine
    interleaved = row["quant"].endswith(("_R4", "_R8")) and any(
        isinstance(layer.ffn, MoE) for layer in model.layers
    )
    mix = INTERLEAVED_MIX if ik else UNKNOWN_MIX
    on_host = flags.get("exps") == "CPU" or (interleaved and row["gpu"].strip() != "CPU")
    return Asked(
        engine=rules.name,
        engine_version=build,
        context=int(row["context_len"]) // num_slots,
        concurrency=num_slots,
        max_num_seqs=num_slots,
        kv_unified="unified" in batch,
        swa_full=flags.get("swa_full") == "1",
        speculation=Speculation("mtp", drafted) if (drafted := _count(flags, "draft_mtp")) else None,
        n_gpu_layers=int(layers[1]) if layers else None,
        split_mode="row" if flags.get("sm") == "row" else "layer",
        ubatch_size=_count(flags, "ub") or (int(micro[1] or micro[2]) if micro else 0) or None,
        flash_attn=flags.get("fa", flags.get("flash_attn", "1")) == "1" and "kv^T" not in row["kv_dtype"],
        cache_type_k=keys,
        cache_type_v=values,
        mla_attn=expanded if ik or expanded == 0 else None,
        attn_max_batch=int(flags["amb"]) if ik and flags.get("amb", "None").isdecimal() else 0,
        cpu_moe=on_host,
        quantization=row["quant"] if re.fullmatch(PLAIN, row["quant"]) else mix,
    )


def _mla_mode(kv_dtype: str, flags: Mapping[str, str]) -> int | None:
    """Return which of ik_llama.cpp's ways the cache of a latent is kept: 0 is as heads, 1 with a transposed
    copy."""
    if "expanded" in kv_dtype:
        return 0
    if "kv^T" in kv_dtype:
        return 1
    mode = flags.get("mla", "")
    return int(mode) if mode.isdecimal() else None


def _build(row: dict[str, str], flags: dict[str, str]) -> str | None:
    """The month of the build: said, or the thread's; a discussion runs for months, so its date says nothing
    but the day of a month that is said."""
    if "build" in flags:
        return flags["build"]
    if found := re.match(r"20\d\d-\d\d", row["engine_version"]):
        return row["date"] if re.fullmatch(rf"{found[0]}-\d\d", row["date"]) else found[0]
    if found := re.match(r"(20\d\d) build", row["engine_version"]):
        return f"{found[1]}-12"  # a year is all that is known: its end, whose rules have held since
    if "(discussions)" in row["source"]:
        return None
    found = re.match(r"20\d\d-\d\d(-\d\d)?", row["date"])
    return found[0] if found else None


def _types(text: str) -> tuple[str, str]:
    """(type of keys, type of values) of the column kv_dtype; "K q8_0, V f16" names both."""
    pair = re.match(r"K (\w+), V (\w+)", text)
    if pair:
        return pair[1], pair[2]
    word = re.match(r"\w+", text)
    kind = (
        {"bfloat16": "bf16", "float16": "f16", "fp16": "f16", "float32": "f32"}.get(
            word.group(), word.group()
        )
        if word
        else "f16"
    )
    return kind, kind
