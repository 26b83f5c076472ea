"""A command that was written as a list of words, as Dockerfiles, Python and JSON write one."""

import re
import shlex

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
