"""How much work input from outside may cause, and the parsers that keep to it.

The promise is 2 s and 200 MB for one input, 10 s for a checkpoint of 200,000 tensors. Bytes alone do not keep
it: 16 MB of `{}` are 435 MB of objects, 40 KB of dotted TOML keys took 2.3 GB. So a text's marks are counted
before it is parsed, and what it became is walked once afterwards. A new reader takes one of the records
below, or adds one.
"""

import json
from collections.abc import Iterator
from typing import Any

from .errors import MissingExtra, OomlessError
from .records import Record
from .units import KIB, MIB

WHOLE = "check that the file is whole"


class Limits(Record):
    """What one input may be, at most."""

    num_bytes: int
    marks: int = 500_000
    """JSON's , : [ { and quotation marks: what it becomes in memory is at most 55 bytes a mark, beside its
    texts."""
    depth: int = 60
    digits: int = 100
    """Of one number: Python itself writes no more than 4,300."""
    aliases: int = 16
    """Of a YAML file: anchors that are used again double with each level."""
    key_parts: int = 20
    """Of a dotted TOML key, whose cost grows with the square of them."""
    rows: int = 100_000
    columns: int = 200
    cell: int = 20_000
    """Characters of one cell of a table."""


CONFIG = Limits(4 * MIB)
"""A config.json: the largest published one is under 100 KB, with a list of unquantised modules under 3 MB."""
HUB_ANSWER = Limits(8 * MIB, marks=1_000_000)
"""What a hub says of a repository: 163 files of DeepSeek-V3 take 6 KB."""
CACHE_ENTRY = Limits(64 * MIB, marks=4_000_000)
"""An entry of our own cache, which may list the tensors of a checkpoint."""
SETTINGS = Limits(64 * KIB)
"""The user's own defaults."""
RUN_FILE = Limits(200 * KIB)
"""A configuration of a training framework; the largest published examples have 10 KB."""
ANSWER = Limits(4 * MIB)
"""A saved answer."""
ARGUMENTS = Limits(200 * KIB, depth=10)
"""Arguments of Megatron-LM: one run's. The time to split a word grows with the square of its length."""
FLAG = Limits(64 * KIB, depth=20)
"""JSON as the value of a flag."""
TRACE = Limits(64 * MIB, marks=4_000_000)
"""A trace, unpacked; packed, DeepSeek-V3's is under 2 MB."""
TABLE = Limits(4 * MIB, rows=20_000)
"""A table of measured rows."""
RECORD = Limits(MIB, marks=50_000, depth=10)
"""One run as a line of JSON."""
PRICES = Limits(16 * MIB, rows=100_000)
"""A table of prices: SkyPilot's of one provider."""
WORKLOAD = Limits(16 * MIB, rows=200_000)
"""Requests of a workload."""

MOST_TENSORS = 250_000
"""Of all files of a checkpoint together: Kimi-K2-Thinking lists 207,000, DeepSeek-V3 91,991."""
MOST_REQUESTS = 200_000
"""Requests of a simulated load."""


def need_tensors(count: int, where: str) -> None:
    """Refuse a checkpoint whose files, as far as they were read, list more tensors than any has."""
    if count > MOST_TENSORS:
        raise OomlessError(
            f"{where}: its files list more than {MOST_TENSORS:,} tensors", "is it one checkpoint?"
        )


def need_bytes(content: bytes | str, where: str, limits: Limits, hint: str = WHOLE) -> None:
    """Refuse what is longer than its kind may be."""
    if len(content) > limits.num_bytes:
        raise OomlessError(f"{where}: too large, more than {limits.num_bytes:,} bytes", hint)


def parse_json(content: bytes | str, where: str, limits: Limits, infinite: bool = False) -> Any:
    """Return the value of a JSON text; what is broken, too much or no number is an error that names `where`.

    `infinite`: published configs hold Infinity where a limit is open (Nemotron-H's time_step_limit); no size
    may be it.
    """

    def refuse(word: str) -> float:
        if infinite and word != "NaN":
            return float(word)
        raise ValueError(f"{word} is no number that a size can have")

    need_bytes(content, where, limits)
    need_marks(content, where, limits)
    try:
        value = json.loads(content, parse_constant=refuse)
    except RecursionError:
        raise too_deep(where) from None
    except ValueError as error:  # UnicodeDecodeError is one
        raise OomlessError(f"{where}: not valid JSON ({str(error)[:120]})", WHOLE) from None
    return checked(value, where, limits, infinite)


def need_marks(content: bytes | str, where: str, limits: Limits) -> None:
    """Refuse a text that lists more values than its kind has."""
    if len(content) <= limits.marks:
        return
    if isinstance(content, bytes):
        marks = len(content) - len(content.translate(None, b',:[{"'))
    else:
        marks = sum(map(content.count, ',:[{"'))
    if marks > limits.marks:
        raise OomlessError(
            f"{where}: {len(content):,} bytes list too many values", "is it the file that you meant?"
        )


def checked(value: Any, where: str, limits: Limits, infinite: bool = False) -> Any:
    """Return data as it is, if its depth and its numbers are within the limits; an alias of YAML is walked as
    often as it is used."""
    level, seen = [value], 0
    for _ in range(limits.depth + 1):
        below: list[Any] = []
        for each in level:
            if isinstance(each, int):
                if each.bit_length() > limits.digits * 10 // 3:
                    raise OomlessError(f"{where}: a number of more than {limits.digits} digits", WHOLE)
            elif isinstance(each, dict):
                below.extend(each.values())
            elif isinstance(each, list):
                below.extend(each)
            elif isinstance(each, float) and each - each != 0 and not (infinite and each == each):
                raise OomlessError(f"{where}: {each} is no number that a size can have", WHOLE)
        seen += len(below)
        if not below:
            return value
        if seen > limits.marks:
            raise OomlessError(f"{where}: too many values", "is it the file that you meant?")
        level = below
    raise too_deep(where)


def too_deep(where: str) -> OomlessError:
    """Return the error of data that is nested beyond all use."""
    return OomlessError(f"{where}: nested too deeply", "check the file")


def parse_toml(content: bytes, where: str, limits: Limits) -> dict[str, Any]:
    """Return the tables of a TOML text, with or without a byte order mark."""
    import tomllib

    need_bytes(content, where, limits)
    try:
        text = content.decode("utf-8-sig")
        if content.count(b".") > limits.key_parts and longest_key(text) > limits.key_parts:
            raise OomlessError(f"{where}: a key of more than {limits.key_parts} parts", "check the file")
        found: dict[str, Any] = checked(tomllib.loads(text), where, limits, infinite=True)
    except RecursionError:
        raise too_deep(where) from None
    except ValueError as error:  # TOMLDecodeError and UnicodeDecodeError are some
        raise OomlessError(f"{where}: not valid TOML ({str(error)[:120]})", WHOLE) from None
    return found


def longest_key(text: str) -> int:
    """Return the most parts of a dotted key in a TOML text: one pass over its texts, names and dots.

    >>> longest_key("[a.b]\\nc.'d.d'.e = 'f.g.h.i.j'"), longest_key("x = 1")
    (3, 1)
    """
    import re

    tokens = re.compile(
        r'"""(?:[^"\\]|\\.|"(?!""))*+"""|' + r"'''(?:[^']|'(?!''))*+'''|"
        r'"(?:[^"\\\n]|\\.)*+"|' + r"'[^'\n]*+'|#[^\n]*+|[A-Za-z0-9_-]++|[ \t]++|(?s:.)",
        re.DOTALL,
    )
    most, parts, dotted = 1, 0, False
    for found in tokens.finditer(text):
        token = found[0]
        if token == ".":
            dotted = True
        elif token[0] not in " \t":
            is_name = token[0].isalnum() or token[0] in "_-\"'"
            parts = (parts + 1 if dotted else 1) if is_name else 0
            most, dotted = max(most, parts), False
    return most


def parse_yaml(content: bytes, where: str, limits: Limits, texts: bool = False) -> Any:
    """Return the value of a YAML document: plain data, few aliases, bounded depth and numbers. `texts`: each
    scalar is the text that stands there, and no number, date or truth."""
    try:
        import yaml  # type: ignore[import-untyped,unused-ignore]
    except ImportError:
        raise MissingExtra(f"{where}: reading YAML needs PyYAML", "pip install pyyaml") from None
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # the parser in C is ten times as fast
    need_bytes(content, where, limits)
    if texts:
        loader = text_loader(loader)
    try:
        _check_events(yaml.parse(content, loader), where, limits)
        return checked(yaml.load(content, loader), where, limits, infinite=True)
    except (yaml.YAMLError, ValueError, TypeError, LookupError, AttributeError, ArithmeticError) as error:
        reason = " ".join(str(error).split())[:120]
        raise OomlessError(f"{where}: not valid YAML ({reason})", WHOLE) from None
    except RecursionError:
        raise too_deep(where) from None


def text_loader(loader: type[Any]) -> type[Any]:
    """Return a loader whose scalars are texts; `<<: *anchor` still puts one mapping into another."""
    import re

    merge = [("tag:yaml.org,2002:merge", re.compile("<<$"))]
    return type("TextLoader", (loader,), {"yaml_implicit_resolvers": {"<": merge}})


def _check_events(events: Any, where: str, limits: Limits) -> None:
    """Refuse what would become too much, before anything is made of it."""
    aliases = depth = 0
    for event in events:
        kind = type(event).__name__
        aliases += kind == "AliasEvent"
        depth += kind.endswith("StartEvent") - kind.endswith("EndEvent")
        if aliases > limits.aliases:
            raise OomlessError(f"{where}: more than {limits.aliases} aliases", "write the entries out")
        if depth > limits.depth:
            raise too_deep(where)
        if kind == "ScalarEvent" and len(event.value) > limits.digits and _is_number(event):
            raise OomlessError(f"{where}: a number of more than {limits.digits} digits", WHOLE)


def _is_number(event: Any) -> bool:
    """Return whether YAML 1.1 could take a scalar for a number: hexadecimal and base 60 too."""
    tagged = (event.tag or "").endswith((":int", ":float"))
    return tagged or (event.implicit[0] and not set(event.value) - set("0123456789abcdefABCDEFxXoO_:+-."))


class TableRow(Record):
    """One row of a table: its line, a cell for every column, and what is wrong with it ("": nothing)."""

    line: int
    cells: dict[str, str]
    fault: str


def read_table(text: str, where: str, limits: Limits) -> tuple[tuple[str, ...], Iterator[TableRow]]:
    """Return (columns, rows) of a CSV table; a bad row is a row with a fault, and what is no CSV ends it."""
    import csv
    from io import StringIO

    reader = csv.reader(StringIO(text, newline=""), strict=True)
    try:
        names = tuple(next(reader, ()))
    except csv.Error as error:
        raise OomlessError(f"{where}: not valid CSV ({error})", "check the quoting") from None
    if len(names) > limits.columns:
        raise OomlessError(f"{where}: more than {limits.columns:,} columns", "check the quoting")

    def rows() -> Iterator[TableRow]:
        try:
            for number, cells in enumerate(reader, 1):
                if number > limits.rows:
                    raise OomlessError(f"{where}: more than {limits.rows:,} rows", "split it")
                fault = ""
                if len(cells) != len(names):
                    fault = f"has {len(cells):,} cells, the header {len(names)}"
                elif any(len(cell) > limits.cell for cell in cells):
                    fault = f"has a cell of more than {limits.cell:,} characters"
                if cells:
                    yield TableRow(reader.line_num, dict(zip(names, cells, strict=False)), fault)
        except csv.Error as error:
            yield TableRow(reader.line_num, {}, f"is not valid CSV ({error})")

    return names, rows()


def parse_csv(
    text: str, where: str, limits: Limits, needed: tuple[str, ...]
) -> Iterator[tuple[int, dict[str, str]]]:
    """Give (line, cells by column) of a CSV table that has the needed columns; a bad row is an error."""
    names, rows = read_table(text, where, limits)
    if missing := [name for name in needed if name not in names]:
        has = ", ".join(names[:8])[:200] or "none"
        raise OomlessError(
            f"{where}: columns missing: `{'`, `'.join(missing)}`",
            f"it has {has!a}; needed are {', '.join(needed)}",
        )
    for row in rows:
        if row.fault:
            raise OomlessError(f"{where}: line {row.line} {row.fault}", "check the quoting")
        yield row.line, row.cells
