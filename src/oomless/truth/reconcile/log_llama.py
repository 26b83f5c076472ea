"""What llama.cpp's logs say in its own words -> the words of questions and tables."""

import re
from collections.abc import Mapping

from ...engines.llamacpp.builds import build_day
from .logged_run import LoggedRun

NO_FLASH = ("disabled", "0", "false", "off")


def llama_cells(run: LoggedRun, found: Mapping[str, object]) -> dict[str, str]:
    """Return what a table says of llama.cpp in its own words: all cells and who shares them, what lies on the
    cards, and the micro-batch, on which the compute buffer depends."""
    cells, layers, all_layers, micro = (
        run.first(word) for word in ("context", "layers_offloaded", "layers", "ubatch_size")
    )
    words = []
    if layers is not None and all_layers is not None:
        words.append(f"{layers.value:.0f}/{all_layers.value:.0f} layers")
    if micro is not None:
        words.append(f"ub={micro.value:.0f}")
    flash = run.text("flash_attn_resolved") or run.text("flash_attn")
    words.append(f"fa={int(flash not in NO_FLASH)}")
    if build := build_of(run, str(found.get("engine_version", ""))):
        words.append(f"build={build}")
    if (devices := len(run.on_cards("weights_bytes"))) > 1:
        words.append(f"devices={devices}")
    unified = " unified" if run.text("kv_unified") in ("true", "1") else ""
    slots = f"parallel {found['max_num_seqs']}{unified}" if "max_num_seqs" in found else ""
    length = f"{cells.value:.0f}" if cells is not None else str(found.get("max_model_len", ""))
    return {"other_flags": " ".join(words), "batch_or_parallel": slots, "context_len": length}


def file_type(printed: str) -> str:
    """Return a GGUF file's type from the words that llama.cpp prints for it.

    >>> (
    ...     file_type("Q4_K - Medium"),
    ...     file_type("IQ2_XXS - 2.0625 bpw"),
    ...     file_type("mostly F16"),
    ...     file_type("Q8_0"),
    ... )
    ('Q4_K_M', 'IQ2_XXS', 'F16', 'Q8_0')
    """
    name, _, size = printed.removeprefix("mostly ").removeprefix("all ").partition(" - ")
    suffix = {"Small": "_S", "Medium": "_M", "Large": "_L"}.get(size.split(" ")[0] if size else "", "")
    return name.strip() + (suffix if re.fullmatch(r"I?Q\d_K|IQ\d", name.strip()) else "")


def build_of(run: LoggedRun, version: str) -> str | None:
    """Return the day of the llama.cpp that ran: of its build or its program's release; else the month of its
    log, since a program is seldom older than its last release."""
    return build_day(run.engine, version) or run.text("month") or None
