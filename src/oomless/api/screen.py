"""An answer on one plain screen: what `repr` shows, and the sentences that every view begins with."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from ..ledger import CATEGORIES, Ledger, Line, Verdict
from ..model.feedforward import MoE
from ..model.model import Model
from ..units import format_bytes, gib

if TYPE_CHECKING:
    from ..estimate.serving.changes import Settled
    from ..estimate.serving.estimate import Estimate
    from ..speed.band import Figure
    from ..speed.dynamic import Dynamic
    from ..speed.serving import ServingSpeed
    from .serving import ServingAnswer
    from .speed import SpeedAnswer

WORDS: dict[Verdict, str] = {"fits": "fits", "tight": "tight", "does_not_fit": "does not fit"}
COLUMNS = ("category", "GiB", "from", "to", "of the card")
MOST_LINES = 40
"""Of a screen; what is beyond is counted in its last line."""


def verdict_of(ledger: Ledger) -> str:
    """Return fits, tight or does not fit, by how much, on which ranks."""
    headroom = ledger.headroom_bytes
    amount = format_bytes(abs(headroom))
    spread = spread_of(ledger)
    match ledger.verdict:
        case "fits":
            return f"fits: {amount} to spare on {ledger.group}"
        case "tight":
            side = "to spare" if headroom >= 0 else "too much"
            return (
                f"tight: {amount} {side} on {ledger.group}, which the estimate's +-{spread} does not settle"
            )
        case "does_not_fit":
            return f"does not fit: {amount} too much on {ledger.group}"


def settled_line(found: "Settled") -> str:
    """Return the verdict once the text of a release says more, and how wide it then is."""
    ledger = found.ledger
    return f"with --engine-version '{found.engine_version}': {WORDS[ledger.verdict]}, +-{spread_of(ledger)}"


def spread_of(ledger: Ledger) -> str:
    """Return how far the further end of the interval is."""
    return format_bytes(max(ledger.high_bytes - ledger.total_bytes, ledger.total_bytes - ledger.low_bytes))


def widest_of(ledger: Ledger, lines: Iterable[Line] = ()) -> str:
    """Return what leaves most open, among the ledger's lines or those that decide, where a tight answer is
    wider than a fifth of the card; "" where it is not."""
    if ledger.verdict != "tight" or 5 * (ledger.high_bytes - ledger.low_bytes) <= ledger.capacity_bytes:
        return ""
    line = max(lines or ledger.lines, key=lambda each: each.high_bytes - each.low_bytes)
    low, high = gib(line.low_bytes), gib(line.high_bytes)
    return f"most of the doubt: {line.what} ({low:.2f} to {high:.2f} GiB)"


def doubt_of(answer: "ServingAnswer") -> str:
    """Return what leaves most open of the worst rank of a tight answer; "" of others."""
    return widest_of(answer.ledger, answer.estimate.ranks[answer.worst_rank].deciding)


def waiting_of(answer: "ServingAnswer") -> str:
    """Return how much of the load runs at once, where the engine starts and the rest waits; "" elsewhere."""
    concurrency = answer.estimate.concurrency
    if not answer.starts or answer.at_once >= concurrency:
        return ""
    if not answer.at_once:
        return "starts, but none of the load finds room"
    return f"starts; {answer.at_once:,} of {concurrency:,} at once, the rest waits"


def verdict_line(answer: "ServingAnswer") -> str:
    """Return whether it starts and whether all of it fits at once, by how much, on which rank."""
    hardware, layout = answer.hardware, answer.request.worked
    where = hardware.what if hardware.mixed else f"{layout.num_ranks} x {hardware.card.name}"
    how = "".join(f", {axis} {size}" for axis, size in layout.axes.items())
    replicas = f", one of {answer.replicas} replicas" if answer.replicas > 1 else ""
    if answer.request.instances > 1:
        where = f"one of {answer.request.instances} instances on {where}"
    held = f", {partly} layers on the cards" if (partly := layers_held(answer)) else ""
    line = f"{verdict_of(answer.ledger)} ({where}{how}{held}{replicas})"
    return f"{waiting}; {line}" if (waiting := waiting_of(answer)) else line


def layers_held(answer: "ServingAnswer") -> str:
    """Return how many layers of how many are on the cards, if not all are."""
    layers = answer.request.n_gpu_layers
    if layers is None or layers < 0:
        return ""
    from ..model.gguf_model import num_blocks  # only engines of GGUF files leave any

    everything = num_blocks(answer.model) + 1
    return f"{layers} of {everything}" if layers < everything else ""


def parameters_of(model: Model) -> str:
    """Return how many parameters, and of routed experts how many a token meets."""
    text = f"{model.num_parameters / 1e9:.1f}B parameters"
    if any(isinstance(layer.ffn, MoE) for layer in model.layers):
        text += f" ({model.num_active_parameters / 1e9:.1f}B active)"
    return text


def question_line(answer: "ServingAnswer") -> str:
    """Return what was asked, in one line."""
    model, request = answer.model, answer.request
    return (
        f"{model.name}, {parameters_of(model)}, "
        f"{request.quantization or model.quantization or request.dtype}, "
        f"{request.engine} {request.engine_version}, {load_of(answer.estimate)}"
    )


def load_of(estimate: "Estimate") -> str:
    """Return the load in words, with the share of a replica where several divide it."""
    whole, share = estimate.concurrency, estimate.request.concurrency
    text = f"{whole} x {estimate.request.context:,} tokens"
    return f"{text} ({share} on each of {estimate.replicas} replicas)" if share < whole else text


def cache_lines(answer: "ServingAnswer") -> str:
    """Return what the cache holds, as sentences."""
    cache, request = answer.kv_cache, answer.request
    if answer.estimate.model.encodes:
        return "no cache: an encoder reads its batch once"
    doubted = cache.longest_sequence < request.context and cache.max_concurrency >= 1
    lines = [
        f"cache pool {format_bytes(cache.pool_bytes)}, needed {format_bytes(cache.needed_bytes)}: "
        f"{cache.max_tokens:,} tokens, {cache.max_concurrency:,.2f} sequences of {request.context:,}, "
        f"one of at most {cache.longest_sequence:,}{' for certain' * doubted}",
        f"a token takes {cache.bytes_per_token:,.10g} B on each rank ({cache.formula})",
    ]
    if cache.fixed_bytes_per_sequence:
        lines.append(f"a sequence holds {format_bytes(cache.fixed_bytes_per_sequence)} whatever its length")
    return "\n".join(lines)


def table_rows(ledger: Ledger) -> list[tuple[str, ...]]:
    """Return a row a category of a rank, and its total: GiB, both ends of the interval, the share of what a
    rank may use."""
    sums: dict[str, tuple[int, int, int]] = {}
    for category in CATEGORIES:
        lines = [line for line in ledger.lines if line.category == category]
        if lines:
            sums[category] = (
                sum(line.bytes for line in lines),
                sum(line.low_bytes for line in lines),
                sum(line.high_bytes for line in lines),
            )
    sums["total"] = (ledger.total_bytes, ledger.low_bytes, ledger.high_bytes)
    return [
        (
            name,
            f"{gib(value):.2f}",
            "" if low == high else f"{gib(low):.2f}",
            "" if low == high else f"{gib(high):.2f}",
            f"{value / ledger.capacity_bytes if ledger.capacity_bytes else 0.0:.1%}",
        )
        for name, (value, low, high) in sums.items()
    ]


def aligned(rows: Iterable[tuple[str, ...]]) -> list[str]:
    """Return rows as lines of text, names to the left and numbers to the right.

    >>> aligned([("a", "1.00"), ("total", "12.00")])
    ['a       1.00', 'total  12.00']
    """
    found = list(rows)
    widths = [max(len(row[index]) for row in found) for index in range(len(found[0]))]
    return [
        "  ".join(
            word.rjust(width) if index else word.ljust(width)
            for index, (word, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in found
    ]


def serving_screen(answer: "ServingAnswer") -> list[str]:
    """Return a serving answer as lines: verdict, question, the worst rank's memory, the cache, what would
    help, notes."""
    lines = [
        verdict_line(answer),
        *filter(None, (doubt_of(answer), question_line(answer))),
        "",
        *aligned([COLUMNS, *table_rows(answer.ledger)]),
        "",
        *cache_lines(answer).splitlines(),
        *(f"would fit with {change.flags}" for change in answer.changes),
        *(f"note: {note}" for note in answer.warnings),
    ]
    return cut_to_screen(lines)


def seconds(value: float) -> str:
    """Return a time in the unit that suits it.

    >>> seconds(0.0123), seconds(1.5), seconds(240)
    ('12.3 ms', '1.50 s', '240 s')
    """
    if value < 1:
        return f"{value * 1000:.1f} ms" if value < 0.1 else f"{value * 1000:,.0f} ms"
    return f"{value:.2f} s" if value < 100 else f"{value:,.0f} s"


def rate_of(tokens_per_s: float) -> str:
    """Tokens or requests a second: below ten with two digits behind the point, of little the first two.

    >>> rate_of(1234.5), rate_of(0.457), rate_of(0.00178)
    ('1,234', '0.46', '0.0018')
    """
    if 0 < tokens_per_s < 0.1:
        return f"{tokens_per_s:.2g}"
    return f"{tokens_per_s:,.0f}" if tokens_per_s >= 10 else f"{tokens_per_s:.2f}"


def times(figure: "Figure") -> str:
    """Return a time with its band."""
    return f"{seconds(figure.value)} ({seconds(figure.low)} to {seconds(figure.high)}, {figure.kind})"


def steady_lines(found: "ServingSpeed", replicas: int) -> list[str]:
    """Return the figures of a steady load."""
    rate = found.tokens_per_s
    return [
        f"first token     {times(found.ttft_s)}",
        f"each token      {times(found.tpot_s)}",
        f"all cards       {rate.value:,.1f} tokens/s ({rate.low:,.1f} to {rate.high:,.1f}, {rate.kind})",
        f"at once         {found.running:,.1f} running, {found.waiting:,.1f} waiting"
        + (f", on each of {replicas} replicas" if replicas > 1 else ""),
    ]


def workload_lines(found: "Dynamic") -> list[str]:
    """Return what the requests of a simulated workload met."""
    rows = [
        (each.what, seconds(each.mean), seconds(each.p50), seconds(each.p90), seconds(each.p99))
        for each in found.spreads
    ]
    return [
        f"requests: {found.num_requests:,}, {found.arrival_rate:,.3g} a second; {found.refused:,} refused",
        f"{found.tokens_per_s:,.0f} output tokens/s, {found.mean_running:,.1f} running",
        "",
        *aligned([("", "mean", "half", "90 %", "99 %"), *rows]),
    ]


def speed_screen(answer: "SpeedAnswer") -> list[str]:
    """Return the speed of a load as lines: whether it fits, the figures, notes."""
    from ..speed.serving import ServingSpeed

    found = answer.speed
    figures = (
        steady_lines(found, answer.serving.replicas)
        if isinstance(found, ServingSpeed)
        else workload_lines(found)
    )
    notes = [f"note: {note}" for note in answer.warnings]
    return cut_to_screen([verdict_line(answer.serving), "", *figures, *notes])


def cut_to_screen(lines: list[str]) -> list[str]:
    """Return at most a screen of lines, the last of which says how many are left out."""
    if len(lines) <= MOST_LINES:
        return lines
    return [*lines[: MOST_LINES - 1], f"... and {len(lines) - MOST_LINES + 1} lines more"]


def as_html(lines: list[str], rows: list[tuple[str, ...]]) -> str:
    """Return the table of an answer for a notebook, below its first two lines."""
    from html import escape

    head = "".join(f"<th>{escape(word)}</th>" for word in COLUMNS)
    body = "".join("<tr>" + "".join(f"<td>{escape(word)}</td>" for word in row) + "</tr>" for row in rows)
    said = "<br>".join(escape(line) for line in lines[:2])
    return f"<p>{said}</p><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
