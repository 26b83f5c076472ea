"""What is done to good input to make it bad: at random, from a seed, so that it can be done again."""

import json
import random
from typing import Any

NUMBERS = [
    *"0 -1 1 2 3 7 1e3 -0.0 1e308 -1e308 1e309 1e-320 NaN Infinity -Infinity nan inf 1.5 1e400".split(),
    *"2147483648 4294967296 9223372036854775807 9223372036854775808 -9223372036854775809".split(),
    *"1_000 0x10 0b1 1:30 ٣ ² 007".split(),
    "9" * 30,
    "9" * 120,
    "1" + "0" * 400,
    "9" * 5_000,
]
TEXTS = (
    "",
    " ",
    "\x00",
    "\x1b[31m",
    "\x1b]0;title\x07",
    "\r\nfits: 99 GiB to spare",
    "\u202e",
    "\ud800",
    "模型",
    "../../etc/passwd",
    "/dev/zero",
    "$(touch pwned)",
    "`touch pwned`",
    '"; touch pwned; "',
    "' + __import__('os').system('touch pwned') + '",
    "{}",
    "[]",
    "null",
    "true",
    "*",
    "re:(a+)+$",
    "(.*)*(.*)*Z",
    "%s%n",
    "{0}",
    "a" * 300,
    "a." * 50,
    ",",
    "=",
    "--",
    "-1GiB",
    "80GiB:8",
    "h200:8",
    "fp8",
    "auto",
)
VALUES: tuple[Any, ...] = (
    None,
    True,
    False,
    0,
    -1,
    1,
    3,
    2**31,
    2**63,
    -(2**63),
    10**25,
    1e308,
    1e-320,
    -0.0,
    float("inf"),
    float("nan"),
    [],
    {},
    [[]],
    [0],
    ["x"],
    {"a": 1},
    {"": None},
    *TEXTS,
)


def mutated(content: bytes, chance: random.Random) -> bytes:
    """One to four changes, of a kind that suits the content."""
    for _ in range(chance.choice((1, 1, 1, 2, 2, 4))):
        if content[:1] in (b"{", b"[") and chance.random() < 0.75:
            content = with_another_value(content, chance)
        elif b"\x00" not in content[:4096] and chance.random() < 0.7:
            content = with_another_word(content, chance)
        else:
            content = with_other_bytes(content, chance)
    return content


def with_another_value(content: bytes, chance: random.Random) -> bytes:
    """JSON in which a value is another one, or is gone."""
    try:
        document = json.loads(content)
    except (ValueError, RecursionError):
        return with_another_word(content, chance)
    target = document
    for _ in range(chance.randrange(1, 7)):
        if not isinstance(target, dict | list) or not target:
            break
        key: Any = chance.choice(list(target)) if isinstance(target, dict) else chance.randrange(len(target))
        inner = target[key]
        if isinstance(inner, dict | list) and inner and chance.random() < 0.8:
            target = inner
            continue
        what = chance.random()
        if what < 0.15:
            del target[key]
        elif what < 0.25 and isinstance(target, dict):
            target[chance.choice(TEXTS)] = target.pop(key)
        elif what < 0.35 and isinstance(inner, int) and not isinstance(inner, bool):
            target[key] = inner + chance.choice((-1, 1, 1 << 40))
        else:
            target[key] = chance.choice(VALUES)
        break
    return json.dumps(document).encode("utf-8", "surrogatepass")


def with_another_word(content: bytes, chance: random.Random) -> bytes:
    """Text in which a word, a number, a line or a mark is another one, doubled or gone."""
    text = content.decode("utf-8", "replace")
    begin = chance.randrange(len(text) + 1)
    end = begin
    while end < len(text) and (text[end].isalnum() or text[end] in "._-") and end - begin < 80:
        end += 1
    what = chance.random()
    if what < 0.3:
        new = chance.choice(NUMBERS)
    elif what < 0.6:
        new = chance.choice(TEXTS)
    elif what < 0.7:
        new = chance.choice(",:;\n\t\"'{}[]()=#|&$%\\*")
    elif what < 0.8:
        new = text[begin:end] * 2
    elif what < 0.9:  # a line of it somewhere else
        lines = text.splitlines(keepends=True) or [""]
        new = chance.choice(lines)
    else:
        new = ""
    return (text[:begin] + new + text[end:]).encode("utf-8", "surrogatepass")


def with_other_bytes(content: bytes, chance: random.Random) -> bytes:
    """Bytes of which some are others, doubled, or gone."""
    if not content:
        return bytes([chance.randrange(256)])
    begin = chance.randrange(len(content))
    span = chance.choice((1, 1, 1, 4, 8, 64))
    what = chance.random()
    if what < 0.4:
        new = bytes(chance.randrange(256) for _ in range(span))
    elif what < 0.6:
        new = chance.choice((b"\x00", b"\xff")) * span
    elif what < 0.7:
        return content[:begin]
    elif what < 0.85:
        new = content[begin : begin + span] * 2
    else:
        new = b""
    return content[:begin] + new + content[begin + span :]
