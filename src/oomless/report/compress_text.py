"""What `compress` has done, for people: bytes before and after, by format and by kind of module."""

from collections import Counter
from typing import TYPE_CHECKING

from ..units import format_bytes

if TYPE_CHECKING:
    from ..compress.compressed import Compressed
    from ..compress.quality.encoder import EncoderQuality
    from ..compress.quality.language import Quality

WORST = 5
"""Modules with the largest error that are shown."""


def compress_text(answer: "Compressed") -> str:
    """Return the lines for a terminal."""
    planned = answer.planned
    before, after = planned.source.num_bytes, answer.predicted_bytes
    verb = "written" if answer.folder else "to write"
    lines = [
        f"{planned.request.to}: {format_bytes(before)} -> {format_bytes(after)} of tensor data "
        f"({after / before:.1%})"
        if before
        else f"{planned.request.to}: an empty checkpoint",
    ]
    if answer.written_bytes is not None:
        same = "as predicted, to the byte" if answer.written_bytes == after else f"predicted were {after:,} B"
        lines.append(f"{answer.written_bytes:,} B in {answer.folder}: {same}")
    sizes: Counter[str] = Counter()
    counts: Counter[str] = Counter()
    for _, form, num_bytes, why in planned.modules():
        name = f"{form} ({why})" if why else form
        sizes[name] += num_bytes
        counts[name] += 1
    width = max((len(name) for name in sizes), default=0)
    lines.append(f"{verb}:")
    lines += [
        f"  {name:<{width}}  {counts[name]:>7,} weights  {format_bytes(size):>12}"
        for name, size in sizes.most_common()
    ]
    if answer.errors:
        worst = sorted(answer.errors.items(), key=lambda each: -each[1])[:WORST]
        lines.append("largest error, as a share of the weight's square:")
        lines += [f"  {error:.3e}  {name}" for name, error in worst]
    lines += mix_lines(answer)
    lines += quality_lines(answer)
    lines += [f"note: {warning}" for warning in answer.warnings]
    return "\n".join(lines) + "\n"


def mix_lines(answer: "Compressed") -> list[str]:
    """Return what the search for a mix found."""
    mix = answer.mix
    if mix is None:
        return []
    beside = (
        f"{mix.alone} for all: {format_bytes(mix.alone_bytes)}, error {mix.alone_error:.4f}"
        if mix.alone
        else "no format fits for all"
    )
    return [
        f"mix under {format_bytes(answer.planned.request.budget)}: {format_bytes(mix.num_bytes)}, error "
        f"{mix.error:.4f}; {beside}"
    ]


def quality_lines(answer: "Compressed") -> list[str]:
    """Return what a text says of both models."""
    found = answer.quality
    if found is None:
        return []
    worst = max(range(len(found.layers)), key=lambda number: found.layers[number], default=0)
    return [
        f"quality on {found.num_tokens:,} tokens: {said_of(found)}",
        f"error of what layers give on: {', '.join(f'{each:.2e}' for each in found.layers[:4])}"
        f"{' ...' if len(found.layers) > 4 else ''}; most in layer {worst}",
    ]


def said_of(found: "Quality | EncoderQuality") -> str:
    """Return the figures of a language model, or of an encoder."""
    from ..compress.quality.encoder import EncoderQuality
    from ..compress.quality.language import Quality

    match found:
        case Quality():
            return (
                f"perplexity {found.perplexity_before:.3f} -> {found.perplexity_after:.3f}, KL "
                f"{found.kl_per_token:.4f} nats a token, top-1 agreement {found.top1_agreement:.1%}"
            )
        case EncoderQuality():
            return (
                f"cosine of the vectors of {found.num_pieces} pieces {found.cosine:.5f} (least "
                f"{found.least_cosine:.5f}), the same nearest neighbour {found.neighbour_agreement:.1%}"
            )
