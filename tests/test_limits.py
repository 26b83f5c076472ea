"""The parsers of the ground floor: what is too much is refused before it costs, what is right is read as its
library reads it."""

import csv
import io
import json
import tomllib
from collections.abc import Callable
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped,unused-ignore]
from hypothesis import given
from hypothesis import strategies as st

from budget import budget
from oomless.errors import OomlessError
from oomless.limits import (
    CONFIG,
    RUN_FILE,
    SETTINGS,
    TABLE,
    Limits,
    longest_key,
    parse_csv,
    parse_json,
    parse_toml,
    parse_yaml,
    read_table,
)

BOMBS: dict[str, tuple[Callable[..., Any], Limits, bytes, str]] = {
    "dotted keys": (parse_toml, RUN_FILE, b"[training]\n" + b"a." * 20_000 + b"a=1", "a key of more than"),
    "dotted table": (parse_toml, SETTINGS, b"[" + b"a . " * 10_000 + b"a]", "a key of more than"),
    "quoted dotted keys": (parse_toml, SETTINGS, b"'a'." * 10_000 + b"a=1", "a key of more than"),
    "hexadecimal": (parse_toml, SETTINGS, b"x = 0x" + b"f" * 60_000, "a number of more than"),
    "hexadecimal in YAML": (parse_yaml, RUN_FILE, b"x: 0x" + b"f" * 5_000, "a number of more than"),
    "base 60": (parse_yaml, RUN_FILE, b"x: " + b"1:" * 50_000 + b"1", "a number of more than"),
    "tagged number": (parse_yaml, RUN_FILE, b"x: !!int '" + b"1" * 5_000 + b"'", "a number of more than"),
    "empty number": (parse_yaml, RUN_FILE, b'x: !!int ""', "not valid YAML"),
    "a date that is none": (parse_yaml, RUN_FILE, b"x: 2024-13-45", "not valid YAML"),
    "aliases": (parse_yaml, RUN_FILE, b"a: &a [1]\n" + b"b: *a\n" * 20, "more than 16 aliases"),
    "aliases that double": (
        parse_yaml,
        RUN_FILE,
        b"a0: &a0 ["
        + b"1," * 9000
        + b"]\n"
        + b"".join(b"a%d: &a%d [*a%d, *a%d]\n" % (n, n, n - 1, n - 1) for n in range(1, 9)),
        "too many values",
    ),
    "merged aliases": (
        parse_yaml,
        RUN_FILE,
        b"a0: &a0 {"
        + b",".join(b"k%d: 1" % n for n in range(5000))
        + b"}\n"
        + b"".join(b"a%d: &a%d {<<: [*a%d, *a%d]}\n" % (n, n, n - 1, n - 1) for n in range(1, 8)),
        "",
    ),
    "an alias of itself": (parse_yaml, RUN_FILE, b"a: &a [*a, *a]", "too many values"),
    "deep YAML": (parse_yaml, RUN_FILE, b"[" * 100_000, ""),
    "deep block YAML": (parse_yaml, RUN_FILE, b"- " * 90_000, ""),
    "deep JSON": (parse_json, CONFIG, b"[" * 100_000 + b"]" * 100_000, "nested too deeply"),
    "rather deep JSON": (parse_json, CONFIG, b"[" * 70 + b"]" * 70, "nested too deeply"),
    "deep TOML": (parse_toml, SETTINGS, b"x = " + b"[" * 60_000, "nested too deeply"),
    "empty objects": (parse_json, CONFIG, b"[" + b"{}," * 1_000_000 + b"{}]", "too many values"),
    "a long number": (parse_json, CONFIG, b"[" + b"9" * 4_000 + b"]", "a number of more than"),
    "a longer number": (parse_json, CONFIG, b"9" * 1_000_000, "not valid JSON"),
    "a number beyond all": (parse_json, CONFIG, b"1e999", "no number that a size can have"),
    "too large": (parse_json, CONFIG, b" " * (CONFIG.num_bytes + 1), "too large"),
}


@pytest.mark.parametrize("name", BOMBS)
def test_what_is_too_much_is_refused_at_little_cost(name: str) -> None:
    parse, limits, content, word = BOMBS[name]
    with budget():
        try:
            parse(content, "file", limits)
        except OomlessError as error:
            assert error.message.startswith("file: ")
            assert word in error.message
        else:
            assert not word


TABLES = {
    "columns": (",".join("abc"[n % 3] + str(n) for n in range(300)) + "\n", "more than 200 columns"),
    "a header of commas": ("," * 1_000_000 + "\n" + "1\n" * 500_000, "more than 200 columns"),
    "rows": ("a\n" + "1\n" * 30_000, "more than 20,000 rows"),
    "a long cell": ("a\n" + "x" * 30_000, "line 2 has a cell of more than"),
    "cells": ("a,b\n1,2\n1,2,3\n", "line 3 has 3 cells, the header 2"),
    "quotes": ('a,b\n1,"2\n', "line 2 is not valid CSV"),
}


@pytest.mark.parametrize("name", TABLES)
def test_tables_are_bounded(name: str) -> None:
    text, word = TABLES[name]
    with pytest.raises(OomlessError, match=word):
        list(parse_csv(text, "file", TABLE, ()))


def test_a_column_that_is_missing_is_named() -> None:
    with pytest.raises(OomlessError, match="columns missing: `c`"):
        list(parse_csv("a,b\n1,2\n", "file", TABLE, ("a", "c")))


texts = st.text(st.characters(exclude_categories=["Cs"]))
values = st.recursive(
    texts | st.integers(-(1 << 63), (1 << 63) - 1) | st.booleans() | st.floats(-1e9, 1e9),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(texts, inner, max_size=5),
    max_leaves=20,
)


@given(values)
def test_what_is_right_is_read_as_its_library_reads_it(value: object) -> None:
    text = json.dumps(value)
    assert parse_json(text, "x", CONFIG) == parse_json(text.encode(), "x", CONFIG) == json.loads(text)
    content = yaml.safe_dump(value, allow_unicode=True).encode()
    assert parse_yaml(content, "x", RUN_FILE) == yaml.safe_load(content)


names = st.text("ab-_1", min_size=1, max_size=3) | st.text("a.b =#'", max_size=4).map(json.dumps)


@given(
    st.lists(st.lists(names, min_size=1, max_size=6), min_size=1, max_size=5),
    st.text("a.b\"#'\n", max_size=12),
)
def test_the_longest_key_is_found_whatever_stands_around_it(keys: list[list[str]], noise: str) -> None:
    """Texts and comments with dots count for nothing; a float is a key of two parts at most."""
    lines = [f"{' . '.join(key)} = {json.dumps(noise)} # a.b.c.d.e.f.g.h" for key in keys]
    text = "\n".join([*lines, "z = '''a.b.c.d.e.f.g'''", 'y = """a.b.c."d".e.f.g"""', "x = 1.5"])
    assert longest_key(text) == max(2, *map(len, keys))


cells = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\r\n"))


@given(st.lists(st.lists(cells, min_size=2, max_size=2), max_size=6))
def test_tables_are_read_as_csv_reads_them(written: list[list[str]]) -> None:
    file = io.StringIO()
    csv.writer(file).writerows([["a", "b"], *written])
    columns, rows = read_table(file.getvalue(), "x", TABLE)
    assert columns == ("a", "b")
    assert [list(row.cells.values()) for row in rows] == written


def test_a_byte_order_mark_is_no_fault() -> None:
    assert parse_toml(b"\xef\xbb\xbfx = 1", "x", SETTINGS) == {"x": 1}
    assert parse_json(b"\xef\xbb\xbf[1]", "x", CONFIG) == [1]
    assert parse_yaml(b"\xef\xbb\xbfx: 1", "x", RUN_FILE) == {"x": 1}
    assert tomllib.loads("x = 1") == {"x": 1}
