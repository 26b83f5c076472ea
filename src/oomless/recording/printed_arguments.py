"""A configuration as Python prints it -> its names and values, without evaluating anything."""

import re
from typing import NamedTuple

LEFT_TO_THE_ENGINE = ("None", "auto", "", "-1")
QUOTES = "'\""
OPEN, CLOSE = "([{<", ")]}>"
MOST_CHARACTERS = 1 << 16
NEXT_NAME = re.compile(r"\s+[A-Za-z_]\w*=")
"""What separates pairs in the text of a pydantic model, which has no commas."""

PATH = re.compile(r"(?:Pure)?(?:Posix|Windows)?Path\(('[^']*'|\"[^\"]*\")\)")


class Arguments(NamedTuple):
    """The configuration that a log prints: what was asked, and what the engine made of it."""

    asked: dict[str, str]
    resolved: dict[str, str]

    def text(self, name: str) -> str | None:
        """Return an argument; None if it is not there or left to the engine.

        >>> Arguments({"dtype": "auto", "tp": "8"}, {"dtype": "bfloat16"}).text("dtype")
        'bfloat16'
        """
        found = self.asked.get(name, self.resolved.get(name))
        if found in LEFT_TO_THE_ENGINE:
            found = self.resolved.get(name)
        return None if found is None or found in LEFT_TO_THE_ENGINE else found


def printed_arguments(text: str) -> dict[str, str]:
    """Return the pairs of the outermost level of a printed dict, call or list of `name=value`: name -> text
    of the value, unquoted.

    >>> printed_arguments("{'model': 'a/b', 'tp': 8, 'cfg': {'model': 'c'}, 'eager': True}")
    {'model': 'a/b', 'tp': '8', 'cfg': "{'model': 'c'}", 'eager': 'True'}
    >>> printed_arguments("model='a/b', load=<Load.AUTO: 'auto'>, dtype=torch.bfloat16)")
    {'model': 'a/b', 'load': "<Load.AUTO: 'auto'>", 'dtype': 'torch.bfloat16'}
    >>> printed_arguments("model='a/b' tp=1 cache=Cache(tp=2, dtype='auto') eager=False ")
    {'model': 'a/b', 'tp': '1', 'cache': "Cache(tp=2, dtype='auto')"}
    >>> printed_arguments("model=PosixPath('/a/b'), tp=1)")
    {'model': '/a/b', 'tp': '1'}
    """
    text = text[:MOST_CHARACTERS].strip()
    if text.startswith("{"):
        text = text[1:]
    found: dict[str, str] = {}
    for piece in _pieces(text):
        name, value = _pair(piece)
        if name and name not in found:
            found[name] = value
    return found


def _pieces(text: str) -> list[str]:
    """Split at commas of the outermost level. A bracket that closes it ends the text; without one the last
    piece may be cut off, and is dropped."""
    pieces: list[str] = []
    depth, quote, start, position = 0, "", 0, 0
    while position < len(text):
        char = text[position]
        if quote:
            if char == "\\":
                position += 1
            elif char == quote:
                quote = ""
        elif char in QUOTES:
            quote = char
        elif char in OPEN:
            depth += 1
        elif char in CLOSE:
            depth -= 1
            if depth < 0:
                return [*pieces, text[start:position]]
        elif depth == 0 and (char == "," or (char.isspace() and NEXT_NAME.match(text, position))):
            pieces.append(text[start:position])
            start = position + 1
        position += 1
    return pieces


def _pair(piece: str) -> tuple[str, str]:
    piece = piece.strip()
    if piece and piece[0] in QUOTES:
        name, _, value = piece[1:].partition(piece[0])
        value = value.lstrip().removeprefix(":")
    else:
        name, _, value = piece.partition("=")
    name, value = name.strip(), value.strip()
    if not name.isidentifier():
        return "", ""
    if path := PATH.fullmatch(value):
        value = path[1]
    if len(value) > 1 and value[0] in QUOTES and value[-1] == value[0]:
        value = value[1:-1]
    return name, value
