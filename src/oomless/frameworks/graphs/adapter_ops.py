"""What an adapter's own operations read, make and keep."""

from typing import TYPE_CHECKING

from .adapters import AdapterKind

if TYPE_CHECKING:
    from .blocks import Builder


def after_dropout(b: "Builder", given: str, values: int) -> str:
    """Return what dropout makes of an adapter's input: a copy and a mask of a byte each, both kept. Adapters
    that follow Megatron-Core's products have one for q, k and v, and one for gate and up (mcore_bridge,
    tuners/lora.py, LoraParallelLinear: it reads the norm's output before the ranks' parts are gathered)."""
    if b.work.grouped_adapters and given in b.dropped:
        return b.dropped[given]
    mask, copy = b.fresh("adapter_mask"), b.fresh("adapter_dropped")
    b.op("adapter_dropout", (given,), {mask: values, copy: b.sizes[given]}, (mask,))
    b.constants.add(mask)
    b.dropped[given] = copy
    return copy


def placed(b: "Builder", outer: str) -> str:
    """Return the update of a part of one projection, beside zeros for what has none: index_copy keeps what it
    places (litgpt/lora.py, zero_pad)."""
    whole = b.fresh("adapter_placed")
    b.op("zero_pad", (outer,), {whole: b.sizes[outer]}, (outer,))
    return whole


def other_adapter(
    b: "Builder",
    kind: AdapterKind,
    given: str,
    outer: str,
    rows: int,
    width_in: int,
    width_out: int,
    width: int,
) -> None:
    """An adapter that is no LoRA: of its input, its outputs and the update itself it keeps what its row says.

    IA3 multiplies the base's output by F32 scales: torch promotes inside of the product and keeps the output
    as it came.
    """
    saves = [given] if kind.inputs else []
    writes = {outer: rows * width_out * width}
    if kind.outputs:
        kept = b.fresh("adapter_kept")
        writes[kept] = kind.outputs * rows * width_out * (b.work.compute if kind.name == "ia3" else width)
        saves.append(kept)
    if kind.dense:
        update = b.fresh("adapter_update")
        writes[update] = kind.dense * width_in * width_out * b.work.adapter_bytes
        saves.append(update)
        b.constants.add(update)
    once = width_in * width_out * b.work.adapter_bytes if kind.dense else 0
    b.op("adapter", (given,), writes, tuple(saves), forward_temp=once, backward_temp=2 * once, product=True)
