"""Models beside each other, for people."""

from typing import TYPE_CHECKING

from ..units import format_bytes

if TYPE_CHECKING:
    from ..compress.quality.side_by_side import Weighed


def side_by_side_text(models: "list[Weighed]", least: "list[Weighed]") -> str:
    """Return a row a model; the last column is the smallest one that writes as well."""
    width = max(len("model"), *(len(each.name) for each in models))
    lines = [
        f"{'model':<{width}}  {'tensor data':>11}  {'of the first':>12}  {'bits a byte':>11}  "
        f"{'perplexity':>10}  equal quality takes"
    ]
    for each, one in zip(models, least, strict=True):
        takes = "nothing smaller here"
        if one is not each:
            takes = f"{format_bytes(one.num_bytes)}, {one.num_bytes / each.num_bytes:.1%}: {one.name}"
        lines.append(
            f"{each.name:<{width}}  {format_bytes(each.num_bytes):>11}  "
            f"{each.num_bytes / models[0].num_bytes:>12.1%}  {each.bits_per_byte:>11.4f}  "
            f"{each.perplexity:>10.3f}  {takes}"
        )
    lines.append(f"{models[0].text_bytes:,} B of text; perplexity is of each model's own tokens")
    return "\n".join(lines) + "\n"
