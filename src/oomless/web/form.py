"""The forms of the page, made from the table of options."""

from .. import facts
from ..engines import engines
from ..facts.options import TITLES, Option
from ..files import json_text
from ..report.language import Phrases
from ..report.page.html import Html, coded, el, fold, join
from ..run.option_values import choices_of
from ..run.options import engines_of
from .question import ASKED, table_of

VIEWS = ("infer", "train", "plan", "tune", "speed", "cost", "reconcile", "claims", "accuracy")
FIRST = {
    "infer": ("engine", "engine_version", "max_model_len", "concurrency"),
    "train": ("method", "framework", "precision", "optimizer", "micro_batch", "seq_len"),
    "plan": ("purpose", "context", "concurrency", "gpus", "budget_usd_per_hour"),
    "tune": ("engine", "context", "concurrency", "slo", "allow"),
    "speed": ("engine", "engine_version", "input_len", "output_len", "concurrency"),
    "cost": ("buy_usd", "server_usd", "rent_usd_per_hour", "utilization", "months"),
    "reconcile": (),
    "claims": (),
    "accuracy": (),
}
"""What stands above the folded groups; MODEL and cards come before it."""
LENGTHS = (1024, 2048, 4096, 8192, 16384, 32768, 65536, 131072, 163840, 262144, 524288, 1048576)
STOPS = {
    "context": LENGTHS,
    "max_model_len": LENGTHS,
    "seq_len": (512, 1024, 2048, 4096, 8192, 16384, 32768, 65536, 131072),
    "concurrency": (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024),
    "micro_batch": (1, 2, 4, 8, 16, 32, 64),
}
"""Where a slider stops."""
TYPES = {
    "whole": "numeric",
    "number": "decimal",
    "positive": "decimal",
    "share": "decimal",
    "gib": "decimal",
}
"""The keyboard that a phone shows."""
HIDDEN = ("model", "gpu", "from_file", "megatron_args", "workload", "prices", "pattern", "id", "list_prices")
"""What has a field of its own, or names a file."""


def form(command: str, words: Phrases) -> Html:
    """Return the form of a command."""
    table = {option.field: option for option in table_of(command)}
    first = [field_of(command, table[name], words, True) for name in FIRST[command] if name in table]
    rest = [option for name, option in table.items() if name not in (*FIRST[command], *HIDDEN)]
    groups = []
    for group in TITLES:
        options = [option for option in rest if option.group == group]
        if options:
            fields = [field_of(command, option, words, False) for option in options]
            groups.append(fold(words(f"titles.{group}"), el("div", fields, class_="fields"), class_="more"))
    return el(
        "form",
        el("div", subject(command, table, words), first, class_="fields first"),
        fold(words("more"), groups, class_="all") if groups else None,
        id=f"form-{command}",
        data_command=command,
        data_needs=" ".join(needs(command, table)),
        autocomplete="off",
        novalidate=True,
        hidden=True,
    )


def needs(command: str, table: dict[str, Option]) -> list[str]:
    """Return what a question cannot do without."""
    model = ["model"] if command in ASKED and command != "cost" else []
    return [*model, *(["gpu"] if "gpu" in table and command in ASKED else [])]


def subject(command: str, table: dict[str, Option], words: Phrases) -> list[Html]:
    """Return the fields of MODEL and cards, or of the log."""
    found = [file_field(words)] if command == "reconcile" else []
    if "model" in needs(command, table) or command == "reconcile":
        found.append(model_field(command, words))
    if "gpu" in table:
        found.append(cards_field(command, words))
    return found


def model_field(command: str, words: Phrases) -> Html:
    """Return the search for a model."""
    name = f"{command}-model"
    box = el(
        "input",
        id=name,
        name="model",
        list="models",
        type="search",
        spellcheck="false",
        aria_describedby=f"{name}-help",
    )
    help = el("small", words("model.help"), id=f"{name}-help")
    file = None
    if command in ("infer", "train", "plan", "tune", "speed"):
        chosen = el(
            "input",
            type="file",
            accept=".json,.safetensors,.gguf",
            multiple=True,
            class_="sr",
            data_file="model",
        )
        file = el("label", chosen, el("span", words("model.file")), class_="file")
    return el("div", el("label", words("model"), for_=name), box, help, file, class_="field wide")


def cards_field(command: str, words: Phrases) -> Html:
    """Return the card and how many of it."""
    card, count = f"{command}-card", f"{command}-count"
    one = None if command == "reconcile" else "1"  # a log may say how many they were
    return el(
        "div",
        el(
            "div",
            el("label", words("card"), for_=card),
            el("input", id=card, name="card", list="cards", type="search", spellcheck="false"),
        ),
        el(
            "div",
            el("label", words("count"), for_=count),
            el("input", id=count, name="count", inputmode="numeric", type="text", placeholder=one),
        ),
        class_="field pair",
        data_field="gpu",
    )


def file_field(words: Phrases) -> Html:
    """Return where a log is dropped or pasted."""
    return el(
        "div",
        el(
            "label",
            el("span", words("file")),
            el("input", type="file", class_="sr", data_file="log"),
            el("b", words("file.choose"), class_="choose"),
            class_="drop",
        ),
        el("label", words("file.paste"), for_="log-text"),
        el("textarea", id="log-text", rows="6", spellcheck="false"),
        el("button", words("file.read"), type="button", id="log-read"),
        el("small", words("file.private")),
        class_="field wide",
    )


def field_of(command: str, option: Option, words: Phrases, is_first: bool) -> Html:
    """Return one option with its label, its help and what it takes."""
    name = f"{command}-{option.field}"
    spelled = option.flag or option.names[0]
    label = words.known(f"label.{option.field}", "") if is_first else ""
    title = join((label, " ", el("code", spelled))) if label else el("code", spelled)
    key = spelled.lstrip("-")
    engines_known = " ".join(engines_of(option))
    help = el("small", coded(words.option(command, option.field, option.help)), id=f"{name}-help")
    return el(
        "div",
        el("label", title, for_=name),
        control(name, key, option, words),
        slider(name, option, title_of(label, spelled)),
        help,
        class_="field",
        data_field=option.field,
        data_engines=engines_known or None,
    )


def title_of(label: str, spelled: str) -> str:
    return label or spelled


def control(name: str, key: str, option: Option, words: Phrases) -> Html:
    """Return what an option is chosen or written with."""
    more = {"id": name, "name": key, "aria_describedby": f"{name}-help"}
    if option.kind == "switch":
        return el("input", type="checkbox", **more)
    choices = ("on", "off") if option.kind == "onoff" else choices_of(option)
    if choices and not option.several and option.kind != "words":
        default = usual(option)
        is_all = default is not None and f"[{default}]" in option.help  # and hangs on nothing else
        rows = [el("option", words("usual", value=default) if is_all else words("any"), value="")]
        rows += [el("option", word, value=word) for word in choices]
        return el("select", rows, data_usual=usual(option), **more)
    several = "several" if option.several else None
    mode = TYPES.get(option.kind)
    return el(
        "input",
        type="text",
        inputmode=mode,
        spellcheck="false",
        data_kind=several,
        placeholder=usual(option) or words.known(f"usual.{name}", "") or None,
        **more,
    )


def usual(option: Option) -> str | None:
    """Return what holds where nothing is given, if that is a plain value."""
    plain = isinstance(option.default, str | int | float) and not isinstance(option.default, bool)
    return str(option.default) if plain and option.default != "" else None


def slider(name: str, option: Option, label: str) -> Html | None:
    """Return a slider over the usual values of an option."""
    stops = STOPS.get(option.field)
    if stops is None:
        return None
    return el(
        "input",
        type="range",
        min="0",
        max=str(len(stops) - 1),
        value="0",
        step="1",
        class_="slider",
        data_for=name,
        data_stops=",".join(map(str, stops)),
        aria_label=label,
    )


def lists() -> Html:
    """Return the names that the searches for models and cards complete."""
    from ..run.card_names import aliases
    from ..run.cards import cards

    models = [el("option", value=row["name"]) for row in facts.table("catalogue")]
    names = sorted({*cards(), *aliases()}, key=lambda each: (len(each) > 12, each))
    return join(
        (
            el("datalist", models, id="models"),
            el("datalist", [el("option", value=name) for name in names], id="cards"),
        )
    )


def versions() -> str:
    """Return the releases of each engine, for the page's script."""
    return json_text({each.name: list(reversed(each.versions)) for each in engines()})
