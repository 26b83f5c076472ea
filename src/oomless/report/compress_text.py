"""What `compress` and `compare-models` have done, for people: bytes before and after, by format and by kind
of module; ways to keep activations; recipes for other tools; models beside each other."""

from collections import Counter
from typing import TYPE_CHECKING

from ..units import format_bytes

if TYPE_CHECKING:
    from ..compress.backward.compare import Way
    from ..compress.backward.printed_snippet import Fault
    from ..compress.compressed import Compressed
    from ..compress.quality.encoder import EncoderQuality
    from ..compress.quality.language import Quality
    from ..compress.quality.side_by_side import Weighed
    from ..compress.recipe import ToolRecipe

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


def kept_text(ways: "list[Way]", faults: "list[Fault]") -> str:
    """Return a row a way, then the faults of the guide's snippet."""
    plain = ways[0]
    width = max(len(way.name) for way in ways)
    lines = [
        f"{'kept for the backward':<{width}}  {'in memory':>10}  {'share':>6}  {'CPU time':>8}  "
        f"{'loss':>8}  gradient error"
    ]
    for way in ways:
        share = way.kept_bytes / plain.kept_bytes
        lines.append(
            f"{way.name:<{width}}  {format_bytes(way.kept_bytes):>10}  {share:>6.3f}  "
            f"{way.cpu_s / plain.cpu_s:>7.2f}x  {way.loss:>8.4f}  {way.gradient_error:.1e}"
        )
    lines += ["", "the guide's snippet, line by line:"]
    lines += [f"  {fault.line}\n    {fault.found}" for fault in faults]
    return "\n".join(lines) + "\n"


def needs_line(found: "ToolRecipe") -> str:
    """Return the memory and the time of the run, or that nobody measured them."""
    if found.needs is None:
        return f"what a run of {found.tool} needs for this format was not measured"
    return (
        f"with nearest rounding about {format_bytes(found.needs.host_bytes)} of host memory and "
        f"{found.needs.cpu_s:,.0f} CPU seconds; a search on texts comes on top\n"
        f"source: {found.needs.source}"
    )


def recipe_text(found: "ToolRecipe") -> str:
    """Return all files, each under its name."""
    parts = [f"# {name}\n{content}" for name, content in found.files.items()]
    return "\n".join([*parts, f"# {needs_line(found)}\n"])


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
