"""A pasted text as it was typed: without the print of a page or of Windows; lists of words as commands."""

import os
import re
import shlex

from ..errors import OomlessError
from ..files import read_whole_text, shown
from ..limits import RUN_FILE


def pasted_text(text: str, hint: str) -> str:
    """Return what is pasted, the text itself or what the file behind an @ holds, as it was typed."""
    if not text.startswith("@"):
        return of_lists(as_typed(text))
    if not os.path.exists(text[1:]):
        raise OomlessError(f"{shown(text[1:])}: not on this machine", "check the path behind @", "command")
    return of_lists(as_typed(read_whole_text(text[1:], RUN_FILE.num_bytes, hint)))


def as_typed(text: str) -> str:
    """Return a command as a shell takes it, of which a page has made dashes, quotes and blanks of print, or
    which Windows' shells continue with ^ or ` and whose folders end with a backslash.

    >>> as_typed("vllm serve m \u2014max-model-len\u00a08192 \u2013hf-overrides \u2018{}\u2019")
    "vllm serve m --max-model-len 8192 --hf-overrides '{}'"
    >>> as_typed(".\\\\llama-server.exe -m C:\\\\m\\\\x.gguf ^\\n -ngl 99")
    './llama-server.exe -m C:/m/x.gguf   -ngl 99'
    """
    text = PROMPT.sub("", PRINTED_BLANK.sub(" ", PRINTED_DASH.sub("--", text)))
    for quote, printed in (('"', "\u201c\u201d"), ("'", "\u2018\u2019")):
        if quote not in text:
            text = re.sub(f"[{printed}]", quote, text)
    if OF_WINDOWS.search(text):
        text = re.sub(r"[\^`][ \t]*\r?\n", " ", text).replace("\\", "/")
    return text


PROMPT = re.compile(
    r"^[ \t]*(?:(?:PS )?[A-Za-z]:\\[^>\n]*>|>+(?=[ \t]+-)|!(?=[A-Za-z]))[ \t]*"
    r"|(?<!\\\n)(?<!\\\r\n)^[ \t]*>+[ \t]+(?=[A-Za-z])|\A\s*# (?=[^\n]*\Z)",
    re.MULTILINE,
)
"""What stands before a command on a page: a prompt of Windows, a quotation's mark, a notebook's, root's."""

PRINTED_DASH = re.compile(r"(?<![^\s\u00a0\u3000])[\u2012-\u2015\u2212]-?(?=[A-Za-z])")

PRINTED_BLANK = re.compile(r"[\u00a0\u2002-\u200b\u202f\u3000\ufeff]")

OF_WINDOWS = re.compile(r"\.exe\b|(?<!\S)\.\\\w|(?<![\w'\"])[A-Za-z]:\\\w|[ \t]\^[ \t]*\r?\n")
"""A program of Windows, a folder of its own, or a line that goes on."""

WORD = r"""(?:"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*')"""

LIST = rf"\[\s*{WORD}(?:\s*,\s*{WORD})*+\s*,?\s*\]"

STARTED = re.compile(rf"(?:\b(?:run|Popen|call|check_call|check_output)\(\s*|\A\s*)({LIST})")
"""A list that Python starts, or a text that begins with one."""

OF_IMAGE = re.compile(rf"^[ \t]*(?:ENTRYPOINT|CMD)[ \t]+({LIST})", re.MULTILINE)

FROM = re.compile(r"^[ \t]*FROM[ \t]+(?:--\S+[ \t]+)?(\S+)", re.MULTILINE)

MOST = 20_000
"""Characters of a text that is searched."""


def of_lists(text: str) -> str:
    """Return the command that a list of words means; any other text as it is. What a Dockerfile starts is its
    image's program with the words of CMD, or ENTRYPOINT with them.

    >>> of_lists('subprocess.Popen(["vllm", "serve", "a b"], env=env)')
    "vllm serve 'a b'"
    >>> of_lists('FROM vllm/vllm-openai:v0.9.2\\nCMD ["--model", "m"]')
    'docker run vllm/vllm-openai:v0.9.2 --model m'
    """
    if len(text) > MOST or "[" not in text:
        return text
    import warnings  # few texts come here

    try:
        with warnings.catch_warnings():  # of escapes that Python keeps as they are, as in a pattern
            warnings.simplefilter("ignore")
            return _written_out(text)
    except (ValueError, SyntaxError):  # an escape that no string has
        return text


def _written_out(text: str) -> str:
    import ast

    if parts := OF_IMAGE.findall(text):
        words = [word for part in parts for word in ast.literal_eval(part)]
        base = FROM.findall(text)
        bare = words[0].startswith("-") and base
        return " ".join(([f"docker run {base[-1]}"] if bare else []) + [shlex.join(words)])
    found = STARTED.search(text)
    return shlex.join(ast.literal_eval(found[1])) if found else text
