"""The values of options: what one may be, which are refused, and how one is written again."""

from collections.abc import Mapping
from functools import cache
from typing import Any

from .. import facts
from ..errors import UsageError, did_you_mean
from ..facts.options import ENGINE_ALSO, Option
from ..units import GB, GIB, KB, KIB, MB, MIB
from .speculation import Speculation, read_speculation

SUFFIXES = {"k": KB, "m": MB, "g": GB, "K": KIB, "M": MIB, "G": GIB}
"""Of a number of tokens as vLLM reads it: 32k is 32,000, 32K is 32,768."""
ENGINE_CHOOSES = ("auto", "-1")
"""What leaves a length or a number of layers to the engine."""
ALL = "all"
ALL_LAYERS = 9999
"""More than any model has: what `all` means, and `-2` of llama.cpp (common/arg.cpp)."""
ON_OFF = {
    **dict.fromkeys(("on", "1", "true", "yes", "auto", "enabled"), True),
    **dict.fromkeys(("off", "0", "false", "no", "disabled"), False),
}
MAX_GIB = 1 << 20


def read(option: Option, text: str, where: str) -> Any:
    """Return what the text of a flag, a variable or an entry means; None if it leaves the choice to the
    engine.

    >>> from .options import by_flag
    >>> read(by_flag("infer")["--max-model-len"], "25.6k", "--max-model-len")
    25600
    """
    return within(option, parsed(option, text, where, SUFFIXES), where)


def parsed(option: Option, text: str, where: str, suffixes: Mapping[str, int]) -> Any:
    """Return what a text means, whatever its range; `suffixes` are those of whoever reads it.

    >>> from .options import by_flag
    >>> parsed(by_flag("infer")["--max-num-batched-tokens"], "8K", "", {"K": 1000})
    8000
    """
    try:
        match option.kind:
            case "whole" | "tokens":
                return whole_of(text, suffixes if option.kind == "tokens" or suffixes is not SUFFIXES else {})
            case "layers" if text in (ALL, "-2"):
                return ALL_LAYERS
            case "length" | "layers":
                return None if text in ENGINE_CHOOSES else whole_of(text, suffixes)
            case "number" | "positive" | "share" | "gib":
                return float(text)
            case "switch":
                return ON_OFF[text.lower()]
            case _:
                return typed(option, text, where)
    except (ValueError, KeyError, OverflowError):
        raise UsageError(f"{where} is {text[:60]!r}", takes(option, where), option.field) from None


def takes(option: Option, where: str) -> str:
    """Return what is written behind an option, under the name that it has where it was said.

    >>> from .options import by_flag
    >>> takes(by_flag("infer")["-ngl"], "--command: -ngl")
    '-ngl takes a whole number, or all'
    """
    return f"{where.rpartition(': ')[2]} takes {WANTED[option.kind]}"


WANTED = {
    "whole": "a whole number",
    "tokens": "a whole number, 32k (32,000) or 128K (131,072)",
    "length": "a whole number, 32k (32,000), 128K (131,072), or auto",
    "layers": "a whole number, or all",
    "number": "a number",
    "positive": "a number",
    "share": "a number",
    "gib": "a number of GiB",
    "text": "a text",
    "lengths": "tokens: 512, 128-4096 or 800~0.7",
    "json": "JSON",
    "words": "words with commas between them",
    "switch": "true or false",
    "onoff": "on or off",
    "images": 'image=4, or {"image": 4}',
    "speculation": "mtp, or vLLM's JSON",
}


def value_of(option: Option, value: Any, where: str) -> Any:
    """Return a value of Python, JSON or TOML as its field has it; what it cannot be is refused by the flag's
    name.

    >>> from .options import by_flag
    >>> value_of(by_flag("train")["--offload"], "params, optimizer", "--offload")
    ('params', 'optimizer')
    >>> value_of(by_flag("speed")["--input-len"], 7168, "input_len")
    '7168'
    """
    return within(option, typed(option, value, where), where)


def within(option: Option, value: Any, where: str) -> Any:
    """Return a value of the right type that is one of the choices, or in the range; others are refused."""
    if option.listed == "frameworks" and isinstance(value, str) and value not in choices_of(option):
        value = trainer_of(value)
    if option.field == "engine":
        value = ENGINE_ALSO.get(value, value)
    if value is not None and (reason := fault_of(option, value)):
        raise UsageError(f"{where} is {shown(value)}", reason, option.field)
    return value


def typed(option: Option, value: Any, where: str) -> Any:
    """Return a value in the type of its field; None if it leaves the choice to the engine."""
    meant: Any
    match option.kind:
        case "length" | "layers" if value in ENGINE_CHOOSES:
            return None
        case "tokens" | "length" | "layers" if isinstance(value, str):
            return parsed(option, value, where, SUFFIXES)
        case "whole" | "tokens" | "length" | "layers":
            meant = value if isinstance(value, int) and not isinstance(value, bool) else None
        case "number" | "positive" | "share" | "gib":
            meant = value if isinstance(value, int | float) and not isinstance(value, bool) else None
        case "switch":
            meant = value if isinstance(value, bool) else None
        case "onoff":
            meant = (
                value if isinstance(value, bool) else ON_OFF.get(value) if isinstance(value, str) else None
            )
        case "images":
            meant = value if isinstance(value, int) and not isinstance(value, bool) else images_of(value)
        case "speculation":
            return read_speculation(value, where)
        case "words":
            meant = words_of(value)
        case "text" if option.several:
            meant = words_of((value,) if isinstance(value, str) else value)
            if meant and not option.file:  # --gpu h100,h200 is each of them
                meant = tuple(each for word in meant for each in words_of(word) or ()) or None
        case "lengths" if isinstance(value, int) and not isinstance(value, bool):
            meant = str(value)
        case "text" | "lengths" | "json":
            meant = value if isinstance(value, str) else None
    if meant is None:
        names = choices_of(option)
        hint = f"it is {' or '.join(names)}" if names else takes(option, where)
        raise UsageError(f"{where} is {shown(value)}", hint, option.field)
    return meant


def whole_of(text: str, suffixes: Mapping[str, int] = SUFFIXES) -> int:
    """Return a whole number, with the suffixes of whoever reads it.

    >>> whole_of("32768"), whole_of("32k"), whole_of("128K"), whole_of("1.5K")
    (32768, 32000, 131072, 1536)
    """
    suffix = text.lstrip("-.0123456789")
    if suffix in suffixes:
        return int(float(text.removesuffix(suffix)) * suffixes[suffix])
    return int(text)


def words_of(value: object) -> tuple[str, ...] | None:
    """Return a list, or text with commas, as words."""
    if isinstance(value, str):
        return tuple(word.strip() for word in value.split(",") if word.strip())
    listed = isinstance(value, list | tuple) and all(isinstance(each, str) for each in value)
    return tuple(value) if listed else None  # type: ignore[arg-type]  # the line above looked at each


MANY_IMAGES = 999
"""vLLM's --limit-mm-per-prompt where it is not given, in V1."""


def images_of(value: object) -> int | None:
    """Return the images of a prompt of vLLM's --limit-mm-per-prompt: image=4,video=0 as in early releases, or
    JSON. Without videos alone they are as many as where nothing is said.

    >>> images_of("image=4,video=0"), images_of('{"image": {"count": 3, "width": 512}}'), images_of("4")
    (4, 3, None)
    >>> images_of('{"video": 0}')
    999
    """
    import json

    try:
        text = str(value)
        found = (
            json.loads(text)
            if text.lstrip().startswith("{")
            else dict(part.split("=") for part in text.split(","))
        )
        if found.keys() == {"video"} and int(found["video"]) == 0:
            return MANY_IMAGES
        image = found["image"]
        return int(image["count"] if isinstance(image, dict) else image)
    except (ValueError, KeyError, TypeError, RecursionError):
        return None


def choices_of(option: Option) -> tuple[str, ...]:
    """Return the words that an option takes, where they are known; () elsewhere."""
    return first_column(option.listed) if option.listed else option.choices


@cache
def first_column(table: str) -> tuple[str, ...]:
    """Return the words of a table's first column."""
    rows = facts.table(table)
    return tuple(row[next(iter(row))] for row in rows)


def fault_of(option: Option, value: Any) -> str:
    """Return what a value of the right type should be instead; "" where nothing is wrong with it."""
    match option.kind:
        case "text" | "words":
            if not (option.choices or option.listed):
                return ""
            names = choices_of(option)
            wrong = next((word for word in words_in(value) if word not in names), None)
            return "" if wrong is None else one_of(wrong, names, option.flag)
        case "switch" | "onoff" | "speculation" | "json" | "lengths":
            return ""
        case "share":
            return "" if SMALLEST <= value <= 1 else "it is a share: above 0, at most 1"
        case "gib":
            return "" if 0 <= value <= MAX_GIB else "it is GiB: 0 or more"
        case "positive":
            is_some = SMALLEST <= value <= option.most
            return "" if is_some else f"it must be above 0, at most {figure(option.most)}"
    if option.choices:
        return "" if str(value) in option.choices else f"it is {' or '.join(option.choices)}"
    if 0 < abs(value) < SMALLEST:
        return f"it is 0, or {figure(SMALLEST)} and more"
    if option.least <= value <= option.most:
        return ""
    usual = option.most == Option._field_defaults["most"] and value < option.least
    return (
        f"it must be {figure(option.least)} or more"
        if usual
        else f"it must be between {figure(option.least)} and {figure(option.most)}"
    )


SMALLEST = 1e-9
"""What counts as above 0: what lies below, such as 1e-320, makes quotients that are no numbers."""


def figure(bound: float) -> str:
    """Return the end of a range as an error writes it.

    >>> figure(1_000_000), figure(0.5), figure(1e30)
    ('1,000,000', '0.5', '1e+30')
    """
    return f"{int(bound):,}" if bound == int(bound) and abs(bound) < GB * GB else f"{bound:g}"


def words_in(value: str | tuple[str, ...]) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else value


def one_of(word: str, names: tuple[str, ...], flag: str) -> str:
    """Return which words are meant: all of a few, the nearest of many."""
    if len(names) <= FEW:
        return f"it is {' or '.join(names)}"

    return trained_through(flag, word) or did_you_mean(word, sorted(names))


FEW = 10


def shown(value: object) -> str:
    """Return a value as an error shows it.

    >>> shown(3), shown("fp8"), shown(("a", "b"))
    ('3', "'fp8'", "'a,b'")
    """
    return repr(",".join(value)) if isinstance(value, tuple) else repr(value)[:60]


def text_of(option: Option, value: Any) -> str | None:
    """Return the word behind our flag that means a value; None for a switch, which has none.

    >>> from .options import by_flag
    >>> (
    ...     text_of(by_flag("train")["--offload"], ("params", "optimizer")),
    ...     text_of(by_flag("infer")["-fa"], False),
    ... )
    ('params,optimizer', 'off')
    """
    match option.kind:
        case "switch":
            return None
        case "onoff":
            return "on" if value else "off"
        case "words":
            return ",".join(value)
        case "images":
            import json

            return json.dumps({"image": value})
        case "speculation":
            return json_of(value)
    return f"{value:g}" if isinstance(value, float) else str(value)


def json_of(value: Speculation) -> str:
    """Return a speculation as vLLM's JSON; what vLLM has no key for is added under our own name.

    >>> json_of(Speculation("mtp", 3))
    '{"method": "mtp", "num_speculative_tokens": 3}'
    """
    import json

    keys = {"method": value.method, "num_speculative_tokens": value.tokens}
    more = {"model": value.draft, "accepted_length": value.accepted_length}
    return json.dumps({**keys, **{name: each for name, each in more.items() if each is not None}})


def trained_through(flag: str, word: str) -> str:
    """Return the hint that a program needs which is no framework itself; "" for any other word.

    >>> trained_through("--framework", "h2o-llmstudio"), trained_through("--framework", "trl")
    ('take transformers or deepspeed: h2o-llmstudio runs on other trainers', '')
    """
    if flag != "--framework" or not (through := _through(word)):
        return ""
    return f"take {' or '.join(through)}: {word[:60]} runs on other trainers"


def trainer_of(word: str) -> str:
    """Return the one framework that a program trains through; any other word stays.

    >>> trainer_of("slime"), trainer_of("h2o-llmstudio"), trainer_of("trl")
    ('megatron-lm', 'h2o-llmstudio', 'trl')
    """
    through = _through(word)
    return through[0] if len(through) == 1 else word


def _through(word: str) -> list[str]:
    meant = word.lower().replace("_", "-")
    rows = [row for row in facts.table("other_frameworks") if row["word"] == meant]
    return [each for row in rows for each in row["frameworks"].split()]
