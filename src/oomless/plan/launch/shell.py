"""Words -> shell code. The only file that writes shell: a word is quoted unless it is `Code`."""

import shlex
from typing import Literal

from ...files import shown
from . import Code, FileText

Interpreter = Literal["/bin/sh", "/bin/bash"]
MOST_COMMENT = 400


def command(*words: str) -> Code:
    """Return one command: its words, each quoted where the shell would read it otherwise.

    >>> print(command("vllm", "serve", "my models/$(id)", "--tp", "8", Code("> $LOG")))
    vllm serve 'my models/$(id)' --tp 8 > $LOG
    """
    return Code(" ".join(word if isinstance(word, Code) else shlex.quote(word) for word in words))


def place(path: str) -> str:
    """Return a path that no program takes for an option.

    >>> place("-rf"), place("deepseek-ai/DeepSeek-V3")
    ('./-rf', 'deepseek-ai/DeepSeek-V3')
    """
    return f"./{path}" if path.startswith("-") else path


def comment(text: str) -> Code:
    """Return a comment of one line, whatever the text holds.

    >>> print(comment("x.gguf: published\\ntouch this"))
    # x.gguf: published\\ntouch this
    """
    return Code("# " + shown(text, MOST_COMMENT))


def lines(*parts: Code) -> Code:
    """Return several pieces of code, one below the other."""
    return Code("\n".join(parts))


def script(interpreter: Interpreter, *parts: Code) -> FileText:
    """Return a script of its lines."""
    return FileText(f"#!{interpreter}\n{lines(*parts)}\n")
