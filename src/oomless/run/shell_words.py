"""The commands in a text that was pasted: a line, or a script with variables, comments, pipes and shells that
start others."""

import re
import shlex
from bisect import bisect_left
from typing import NamedTuple

from ..errors import UsageError
from ..limits import RUN_FILE, need_bytes
from .shell_arithmetic import ARITHMETIC, INSIDE, calculated
from .shell_branches import Branches

MOST_SHELLS = 4
"""Shells within shells: `docker run IMAGE bash -c "..."` is one."""
MOST_COMMANDS = 1_000
MOST_VALUE = 512
"""Characters of a variable that is put in where it is used."""
HEREDOC = re.compile(
    r"[ \t]*(?:cat|tee|python[\d.]*)\b(?P<before>.*)<<-?[ \t]*['\"]?(?P<end>\w+)['\"]?(?P<behind>.*)"
)
"""A file that a script writes before it is used: cat > FILE <<EOF."""
ENDS = re.compile(r"[;&|\n]+")
PLACE = re.compile(r"(?<![<\w\\])<([A-Za-z][\w.-]*)>(?!>)")
"""What a page leaves to be filled in, <node-rank>: no file that is read."""
TURNS = re.compile(r"&?[<>]+[&|]?")
"""What sends a stream elsewhere; the word behind it is a file's."""
ASSIGNED = re.compile(r"([A-Za-z_]\w*)=(.*)", re.DOTALL)
NESTED = r"(?:[^{}]|\{(?:[^{}]|\{[^{}]*+\})*+\})*+"
"""What stands in braces, with two levels of more."""
VARIABLE = re.compile(
    r"(?<!\$)\$(?:\{([A-Za-z_]\w*|\d)"
    rf"(?:(:?[-=+])({NESTED}))?"
    r"\}|\(([A-Z_]\w*)\)|([A-Za-z_]\w*|\d))"
)
"""$X, ${X}, ${X:-3}, ${1:-3}, ${X:+--flag}, and Kubernetes' own $(X); behind a second dollar, Compose's own
sign for one, nothing is put in."""
IN_ITS_PLACE = re.compile(
    r"""(?<!["'\w=])\$\{\w+:?[-+][^{}"'\n]*+(?:\{[^{}"'\n]*+\}[^{}"'\n]*+)*+\}(?!["'\w])"""
)
"""${X:+--flag value}, outside of quotes."""
TESTS = ("if", "elif", "case", "[", "[[", "test", "!")
"""What begins a line whose empty words count."""
MOST_LIST = 20_000
"""Characters of an array."""
ARRAY = re.compile(
    r"((?:^|[;&|]|\b(?:then|else|do)\b)[ \t]*[A-Za-z_]\w*\+?=)"
    rf"\(((?:[^()'$]|'[^']*'|\$\(\({INSIDE}\)\)|\$)*+)\)",
    re.MULTILINE,
)
"""NAME=(--flag value ...), over as many lines as it takes."""
LISTED = re.compile(r"\$\{?([A-Za-z_]\w*|[@*])(\[[@*]\])?\}?")
"""A word that stands for several: ${NAME[@]}, $@, and $NAME where it holds flags."""
APPENDED = re.compile(r"([A-Za-z_]\w*)\+=(.*)", re.DOTALL)
COUNTED = re.compile(rf"\$\(\(({INSIDE})\)\)|\$\(expr\s([^()\n]{{1,200}})\)")
"""$((16 / 8)), and $(expr 16 / 8), which is the same."""
RESULT = re.compile(
    rf"""('[^']*'|"(?:\\.|[^"\\])*"|\\.)|\$\((?!\()[^()\n]{{0,500}}\)|\$\(\({INSIDE}\)\)""", re.DOTALL
)
"""What is quoted, which stays, or what a command prints, $(nvidia-smi -L | wc -l): one word, whatever is in
it."""
OF_PLACES = {"HOME": "~", "PWD": "."}
"""Variables that every shell has: places of that machine."""
QUOTED_OR_OBJECT = re.compile(r"""'[^']*'|"(?:\\.|[^"\\])*"|\\.|(\{\s*")""", re.DOTALL)
COMMENT = re.compile(
    r"""((?<!\\)(?:'[^']*'|"(?:\\.|[^"\\])*"))|^[ \t]*(?:\#|//[ \t]*-)[^\n]*\n?|(?<=[ \t])\#[^\n]*""",
    re.DOTALL | re.MULTILINE,
)
"""What is quoted, which stays, or a comment; who writes // before a flag means one too."""
SHELL = re.compile(r"(?:\S*/)?(?:ba|da|z|a|k)?sh")
OF_SHELL = re.compile(r"-\w*c")
ENTRY_SHELL = re.compile(r"--entrypoint[ =](?:/\S+/)?(?:ba|z)?sh(?: |$)")


class ShellCommand(NamedTuple):
    """One command: its words, and what was set before it."""

    before: tuple[str, ...]
    """Variables, NAME=value, and a container image, oldest first."""
    words: tuple[str, ...]
    cards: int | None = None
    """Cards that its container may use; None: nothing is said."""
    nodes: int = 1
    """Containers of the same kind that it starts on."""
    card: str = ""
    """The name of the card, where its container asks for one."""


def without_files(text: str) -> tuple[str, dict[str, str]]:
    """Return (text, files) of a script without the files that it writes, by their names.

    >>> without_files("cat > x.yml <<EOF\\na: 1\\nEOF\\ntrtllm-serve m --config x.yml")
    ('\\ntrtllm-serve m --config x.yml', {'x.yml': 'a: 1\\n'})
    """
    files: dict[str, str] = {}
    if "<<" not in text:
        return text, files
    lines, kept, at = text.split("\n"), list[str](), 0
    ends: dict[str, list[int]] = {}
    for place, line in enumerate(lines):
        ends.setdefault(line.strip(" \t"), []).append(place)
    while at < len(lines):
        at += 1
        found = HEREDOC.fullmatch(lines[at - 1])
        places = ends.get(found["end"], []) if found else []
        if found is None or (end := bisect_left(places, at)) == len(places):
            kept.append(lines[at - 1])
            continue
        where = found["before"] + found["behind"]
        if named := [word.strip(">'\"") for word in where.split() if word.strip(">")]:
            content = "".join(f"{line}\n" for line in lines[at : places[end]])
            files[named[0]] = (files.get(named[0], "") if ">>" in where else "") + content
        kept.append("")
        at = places[end] + 1
    return "\n".join(kept), files


def commands_in(text: str, every: bool = False) -> list[ShellCommand]:
    """Return the commands of a text in their order, each with the variables that are set before it; `every`:
    those of branches that are not taken too.

    >>> commands_in("export TP=8  # cards\\nvllm serve m -tp $TP 2>&1 | tee log")[1][:2]
    (('TP=8',), ('vllm', 'serve', 'm', '-tp', '8'))
    >>> [found.words for found in commands_in("docker run i bash -c 'cd /m && vllm serve m'")]
    [('docker', 'run', 'i', 'bash'), ('cd', '/m'), ('vllm', 'serve', 'm')]
    >>> commands_in("vllm serve m\\n//--enable-x --y 1\\n--tp 4")[0].words
    ('vllm', 'serve', 'm', '--tp', '4')
    >>> commands_in("vllm serve m --node-rank <rank> --dist <head-ip>:50 < in > out")[0].words
    ('vllm', 'serve', 'm', '--node-rank', '<rank>', '--dist', '<head-ip>:50')
    """
    need_bytes(text, "--command", RUN_FILE, "paste the command alone")
    return _commands(text, {}, (), 0, every)


def _commands(
    text: str, values: dict[str, str], before: tuple[str, ...], depth: int, every: bool
) -> list[ShellCommand]:
    found: list[ShellCommand] = []
    lines = _lines(text)
    script = Branches(frozenset() if every else frozenset(line[0] for _, line in lines))
    for ended, line in lines:
        if line[0] in TESTS:
            words = [valued(word, values) for word in line]
        else:
            words = [each for word in line for each in _several(word, values)]
        runs, words = script.reached(ended, words) if words else (False, words)
        if (runs is False and not every) or words[:1] in ([], ["echo"], ["printf"]):
            continue
        said = [match for word in words if (match := ASSIGNED.fullmatch(word))]
        said = [match for match in said if runs or "$" not in match[2] or match[1] not in values]
        values |= {match[1]: match[2] for match in said}
        for match in filter(None, map(APPENDED.fullmatch, words)):
            values[match[1]] = f"{values.get(match[1], '')} {match[2]}"[:MOST_LIST]
        found += unfolded(words, values, before, depth, every)
        if runs and not every and words[0] == "exec" and len(words) > 1:
            break
        if len(found) > MOST_COMMANDS:
            raise UsageError(f"--command: more than {MOST_COMMANDS:,} commands", "paste one", "command")
        before = (*before, *(match[0] for match in said))
    return found


def _several(word: str, values: dict[str, str]) -> list[str]:
    """Return the words that a word stands for, with the values of variables.

    >>> _several("${ARGS[@]}", {"ARGS": "--tp $N 'a b'", "N": "8"}), _several("$N", {"N": "8 9"})
    (['--tp', '8', 'a b'], ['8 9'])
    >>> _several("${N:+--tp $N}", {"N": "8"}), _several("${N:+--tp $N}", {}), _several("$@", {})
    (['--tp', '8'], [], [])
    """
    match, whole = LISTED.fullmatch(word), VARIABLE.fullmatch(word)
    held = values.get(match[1], "" if match[1] in "@*" else None) if match else None
    held = valued(word, values) if held is None and whole and whole[2] else held
    all_of = match is not None and (match[2] or match[1] in "@*")
    if held is None or not (all_of or held == "" or held.startswith("-")):
        return [valued(word, values)]
    try:
        return [valued(each, values) for each in shlex.split(held)]
    except ValueError:
        return [word]


def unfolded(
    words: list[str], values: dict[str, str], before: tuple[str, ...], depth: int = 0, every: bool = False
) -> list[ShellCommand]:
    """Return a command and, where a shell in it is given a text, the commands of that text.

    >>> unfolded(["sh", "-c", "vllm serve m"], {}, ("A=1",))[1][:2]
    (('A=1', 'sh'), ('vllm', 'serve', 'm'))
    >>> unfolded("docker run --entrypoint /bin/bash a/b:v1 -lc".split() + ["exec vllm serve m"], {}, ())[
    ...     1
    ... ].words
    ('exec', 'vllm', 'serve', 'm')
    >>> unfolded(["bash", "-c", 'vllm serve "$@"', "--", "m", "--tp", "8"], {}, ())[1].words
    ('vllm', 'serve', 'm', '--tp', '8')
    """
    for at in range(1, len(words) - 1):
        if not OF_SHELL.fullmatch(words[at]) or depth >= MOST_SHELLS:
            continue
        if SHELL.fullmatch(words[at - 1]) or ENTRY_SHELL.search(" ".join(words[:at])):
            first, rest, behind = words[:at], words[at + 1], words[at + 3 :]
            told = {str(place): word for place, word in enumerate(behind[:9], 1)}
            told |= {"@": shlex.join(behind), "*": shlex.join(behind)} if behind else {}
            inner = _commands(rest, values | told, (*before, *first), depth + 1, every)
            return [ShellCommand(before, tuple(first)), *inner]
    return [ShellCommand(before, tuple(words))] if words else []


def with_quoted_json(text: str) -> str:
    """Return a command in which an object of JSON outside all quotes is one quoted word: a shell would tear
    it apart, so that whoever pasted it has lost the quotes around it.

    >>> print(with_quoted_json("serve m --x {\\"a\\": 1, \\"b\\": [2]} --y '{\\"c\\": 3}'"))
    serve m --x '{"a": 1, "b": [2]}' --y '{"c": 3}'
    """
    if '{"' not in text:
        return text
    from json import JSONDecoder

    found, at, decoder = [], 0, JSONDecoder()
    while match := QUOTED_OR_OBJECT.search(text, at):
        end, word = match.end(), match[0]
        if match[1]:
            try:
                _, end = decoder.raw_decode(text, match.start())
                word = shlex.quote(text[match.start() : end])
            except (ValueError, RecursionError):
                pass
        found += [text[at : match.start()], word]
        at = end
    return "".join((*found, text[at:]))


def _lines(text: str) -> list[tuple[str, list[str]]]:
    """Return the words of each command with what ended the one before; a line that begins with a flag goes on
    where the last one ended."""
    text = COMMENT.sub(lambda found: found[1] or "", text.replace("\r\n", "\n"))
    text = with_quoted_json(text)
    text = re.sub(r"(?<!\\)\\\s*\Z|\\[ \t]*\n", " ", text)
    text = PLACE.sub(r"\\<\1\\>", text)
    text = ARRAY.sub(lambda found: found[1] + shlex.quote(" ".join(found[2].split("\n")).strip()), text)
    text = IN_ITS_PLACE.sub(lambda found: f'"{found[0]}"', text)
    text = COUNTED.sub(lambda found: f"$(({(found[1] or found[2]).replace(' ', '')}))", text)
    text = RESULT.sub(lambda found: found[0] if found[1] else shlex.quote(found[0]), text)
    text = re.sub(r"(?<=\s)\d(?=[<>])", "", text)
    lexer = shlex.shlex(text, posix=True, punctuation_chars=";&|<>\n")
    lexer.whitespace, lexer.whitespace_split, lexer.commenters = " \t\r", True, ""
    try:
        tokens = list(lexer)
    except ValueError as error:
        raise UsageError(
            f"--command: {error}", "quote the command as the shell takes it", "command"
        ) from None
    lines: list[tuple[str, list[str]]] = [("", [])]
    ended, skips = "", ""
    for token in tokens:
        if ENDS.fullmatch(token):
            ended, skips = ended + token, ""
        elif TURNS.fullmatch(token):
            skips = skips or "file"
        elif skips and not ended:
            skips = skips if skips == "comment" else ""
        elif token.startswith("#") and not ended:
            skips = "comment"
        else:
            goes_on = not ended.strip("\n") and token.startswith("-")
            if ended and not goes_on:
                lines.append((ended, []))
            ended = ""
            lines[-1][1].append(token)
    return [line for line in lines if line[1]]


def valued(word: str, values: dict[str, str]) -> str:
    """Return a word with the variables whose values are known, and whole numbers calculated.

    >>> valued("--tp=$((N / 2))", {"N": "8"}), valued("$N", {}), valued("${A:-${B:-${N:-2}}}", {"N": "8"})
    ('--tp=4', '$N', '8')
    """

    def value(match: re.Match[str]) -> str:
        name = match[1] or match[4] or match[5]
        found, sign = values.get(name, OF_PLACES.get(name)), match[2] or ""
        if sign[-1:] == "+":
            found = match[3] if found or (found == "" and sign == "+") else ""
        elif sign and (found is None or (found == "" and sign[0] == ":")):
            found = match[3]
        return match[0] if found is None or len(found) > MOST_VALUE else found

    if "$" not in word:
        return word
    word = VARIABLE.sub(value, word)
    for _ in range(MOST_SHELLS):  # what is left of ${X:-${Y:-8}}, from the inside out
        if "$" in word and len(word) <= MOST_VALUE:
            word = VARIABLE.sub(value, word)
    return ARITHMETIC.sub(lambda found: calculated(found[1], values) or found[0], word)
