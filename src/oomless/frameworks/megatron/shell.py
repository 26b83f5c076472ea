"""Megatron arguments out of a shell line or script: variables, arithmetic, arrays, quoted lists. Nothing is
run."""

import io
import re
import shlex
from collections.abc import Iterator

from ...errors import OomlessError
from ...run.shell_arithmetic import ARITHMETIC, calculated
from .argument_reader import Value, scalar

ENVIRONMENT = ("CUDA_", "CUBLAS_", "NVTE_", "NCCL_", "PYTORCH_", "TORCH_")
"""How the names of variables begin that a script sets for the run."""
SCRIPTS = {"gpt": "gpt", "bert": "bert", "t5": "t5", "hybrid": "hybrid", "mamba": "hybrid"}
"""pretrain_NAME.py -> the family of networks that it trains."""
END = ";"
"""A word that ends a list of arguments."""


def read_shell(text: str, where: str) -> dict[str, Value]:
    """Return the arguments of a command line, or of a script that calls pretrain_NAME.py.

    >>> read_shell(
    ...     "WIDTH=$((2 * 1408))\\nARGS=(--num-layers 4 --bf16)\\npython x.py ${ARGS[@]} --a $WIDTH", ""
    ... )
    {'num-layers': 4, 'bf16': True, 'a': 2816}
    """
    text = substituted(re.sub(r"\\\r?\n", " ", text))
    try:
        words = list(words_of(text))
    except ValueError as error:
        raise OomlessError(f"{where}: cannot be split into words ({error})", "check the quotes") from None
    found: dict[str, Value] = {}
    name = ""
    for word in words:
        setting = re.fullmatch(r"([A-Z][A-Z0-9_]+)=([^\s()]+)", word)
        if setting is not None and setting[1].startswith(ENVIRONMENT):
            found[setting[1]] = setting[2]
        elif word.endswith(".py"):
            name = ""
            script = re.search(r"pretrain_(\w+)\.py$", word)
            if script and script[1] in SCRIPTS:
                found["model-family"] = SCRIPTS[script[1]]
        elif word.startswith("--"):
            name, _, value = word[2:].partition("=")
            name = name.replace("_", "-")
            found[name] = scalar(value) if value else True
        elif name and word not in (END, "&&"):
            old, new = found[name], scalar(word)
            found[name] = new if old is True else [*old, new] if isinstance(old, list) else [old, new]
        else:
            name = ""
    return found


def substituted(text: str) -> str:
    """Return a script with its own variables and arithmetic put in, line by line; what nobody sets stays.

    >>> substituted("TP=4\\nPP=$((TP / 2))\\n--a ${TP} --b $PP --c ${N:-8} --d $E")
    'TP=4\\nPP=2\\n--a 4 --b 2 --c 8 --d $E'
    """
    variables: dict[str, str] = {}
    left = MAX_SUBSTITUTIONS

    def put_in(line: str) -> str:
        nonlocal left
        for pattern, value in (
            (DEFAULTED, lambda found: variables.get(found[1], found[2])),
            (VARIABLE, lambda found: variables.get(found[1], found[0])),
            (ARITHMETIC, lambda found: calculated(found[1], variables) or found[0]),
        ):
            if left > 0:
                line, count = pattern.subn(value, line, count=left)
                left -= count
        return line

    lines = []
    for line in text.splitlines():
        line = put_in(line)
        match = ASSIGNMENT.match(line)
        if match:
            variables[match[1]] = match[2].strip("\"'")
        lines.append(line)
    return "\n".join(put_in(line) for line in lines)


MAX_SUBSTITUTIONS = 10_000
ASSIGNMENT = re.compile(r"\s*(?:export\s+)?([A-Za-z_]\w*)=(\S{1,200})\s*$")
"""TP=4 on a line of its own; texts that are longer than a number or a layout are left where they are."""
DEFAULTED = re.compile(r"\$\{([A-Za-z_]\w*):?[-=]([^${}]*)\}")
"""${TP:-4}: a variable, and what it is where nobody sets it."""
VARIABLE = re.compile(r"\$\{?([A-Za-z_]\w*)\}?")


class Lines(io.StringIO):
    """Text whose lines end before their newline, so that a comment leaves it in place."""

    def readline(self, size: int | None = -1, /) -> str:  # type: ignore[override]  # typeshed has bytes
        line = super().readline(-1 if size is None else size)
        if line.endswith("\n"):
            self.seek(self.tell() - 1)
        return line


def words_of(text: str) -> Iterator[str]:
    """Yield the words of a script, the insides of arrays and quoted lists among them, and END where a
    command, an array or a quoted list ends.

    >>> list(words_of('A=(--b 4 --c)\\nX="--d 8"\\nrun.py ${A[@]} --e f\\nwait'))
    ['--b', '4', '--c', ';', ';', '--d', '8', ';', ';', 'run.py', '--e', 'f', ';', 'wait']
    """
    script = re.search(r"\.py\b|^\s*(?:export\s+)?[A-Za-z_]\w*\+?=", text, re.MULTILINE) is not None
    inside = False
    for word in tokens(text):
        if word == "\n":
            if script and not inside:
                yield END
            continue
        if re.fullmatch(r"\$\{?\w+(\[[@*]\])?\}?", word):
            continue
        opened = re.fullmatch(r"[A-Za-z_]\w*\+?=\((.*)", word, re.DOTALL)
        if opened is not None:
            inside, word = True, opened[1]
        closes = inside and word.count(")") > word.count("(")
        word = word.removesuffix(")") if closes else word
        listed = re.fullmatch(r"[A-Za-z_]\w*\+?=(\s*--.*)", word, re.DOTALL)
        if listed is not None:  # GPT_ARGS="--num-layers 24 --bf16"
            yield from listed[1].split()
            yield END
        elif word not in ("", "("):
            yield word
        if closes:
            inside = False
            yield END


def tokens(text: str) -> Iterator[str]:
    """Yield words as a shell splits them, and each newline outside of quotes."""
    lexer = shlex.shlex(Lines(text), posix=True, punctuation_chars="\n")
    lexer.whitespace, lexer.whitespace_split = " \t\r", True
    for word in lexer:
        yield from "\n" if set(word) == {"\n"} else (word,)
