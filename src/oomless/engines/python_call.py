"""An engine that a script starts in Python, LLM("m", tensor_parallel_size=2), as a command of its own."""

import ast
import json
import re
import shlex
import warnings
from contextlib import suppress
from typing import Any

from .vllm.command_line import OFFLINE_WORD

OF_LLAMA = ("python -m llama_cpp.server",)
CALLS = (
    (re.compile(r"(?<![\w.])(?:vllm\.)?(LLM)\("), (OFFLINE_WORD, "vllm serve")),
    (re.compile(r"(?<![\w.])(?:sgl|sglang)\.(Engine)\("), ("python -m sglang.launch_server",)),
    (re.compile(r"(?<![\w.])(?:llama_cpp\.)?(Llama|LlamaCpp)\((?=[^()]*\bmodel_path\b)"), OF_LLAMA),
)
"""What starts an engine in its own process (vllm/entrypoints/llm.py, sglang/srt/entrypoints/engine.py,
llama_cpp/llama.py), and the program with the same arguments."""
OF_LMDEPLOY = (re.compile(r"(?<![\w.])(?:lmdeploy\.)?(pipeline|serve)\("), ("lmdeploy serve api_server",))
BACKENDS = {"TurbomindEngineConfig": "turbomind", "PytorchEngineConfig": "pytorch"}
"""What LMDeploy's pipeline takes its settings from (lmdeploy/api.py), and --backend."""
OTHERS = re.compile(r"\btensorrt_llm\b")
"""Packages whose classes of these names take other arguments."""
SET = re.compile(r"^[ \t]*os\.environ\[[\"'](\w+)[\"']\][ \t]*=[ \t]*[\"']([\w.,:-]*)[\"']", re.MULTILINE)
MOST_CALL = 4_000
"""Characters of a call."""


def of_python(text: str) -> str:
    r"""Return the command that a script's call comes to; any other text as it is.

    >>> of_python('m = "Qwen/Qwen3-8B"\nllm = LLM(model=m, max_model_len=4096, enforce_eager=True)')
    'USAGE_CONTEXT=LLM_CLASS vllm serve Qwen/Qwen3-8B --max-model-len 4096 --enforce-eager'
    >>> of_python(
    ...     'c = TurbomindEngineConfig(tp=2, session_len=8192)\nlmdeploy.pipeline("m/n", backend_config=c)'
    ... )
    'lmdeploy serve api_server m/n --backend turbomind --tp 2 --session-len 8192'
    >>> of_python('python -c "import sglang as sgl; sgl.Engine(model_path=\\"m\\", tp_size=2)"')
    'python -m sglang.launch_server --model-path m --tp-size 2'
    """
    if OTHERS.search(text):
        return text
    script = re.sub(r"^(?:>>>|\.\.\.) ?", "", text, flags=re.MULTILINE).replace('\\"', '"')
    for pattern, program in (OF_LMDEPLOY,) if "lmdeploy" in script else CALLS:
        for found in pattern.finditer(script):
            if (call := called(script[found.start(1) : found.start(1) + MOST_CALL])) is not None:
                variables = [f"{name}={value}" for name, value in SET.findall(script)]
                return " ".join((*variables, *program, shlex.join(words_of(call, script))))
    return text


def called(text: str) -> ast.Call | None:
    """Return the call that a text begins with; None: it is none that Python reads."""
    with warnings.catch_warnings():  # of escapes in paths of Windows, which are not ours to tell
        warnings.simplefilter("ignore")
        for end in (match.end() for match in re.finditer(r"\)", text)):
            with suppress(SyntaxError, ValueError, RecursionError, MemoryError):
                body = ast.parse(text[:end], mode="eval").body
                return body if isinstance(body, ast.Call) else None
    return None


def words_of(call: ast.Call, script: str) -> list[str]:
    """Return a call's arguments as words of a command line. What is off by itself has no word, nor has a
    model that only a run names."""
    keywords = [(each.arg, value_of(each.value, script)) for each in settings_of(call, script)]
    models = [value_of(each, script) for each in call.args[:1]]
    models += [value for name, value in keywords if name == "model"]
    words = [each for each in models if isinstance(each, str) and not each.startswith("$")][:1]
    for name, value in keywords:
        if name == "model":
            continue
        if name is not None and value is not None and (value is not False or "enable" in name):
            flag = name.replace("_", "-")
            words.append(f"--no-{flag}" if value is False else f"--{flag}")
            words += [] if isinstance(value, bool) else [said(value)]
    return words


def settings_of(call: ast.Call, script: str) -> list[ast.keyword]:
    """Return a call's keywords; those of LMDeploy's settings in place of the one that names them."""
    found = []
    for each in call.keywords:
        inner: ast.expr | None = each.value
        if isinstance(inner, ast.Name):
            match = re.search(rf"^[ \t]*{inner.id}[ \t]*=[ \t]*(?=\w+\()", script, re.MULTILINE)
            inner = called(script[match.end() : match.end() + MOST_CALL]) if match else None
        backend = BACKENDS.get(ast.unparse(inner.func)) if isinstance(inner, ast.Call) else None
        if each.arg == "backend_config" and isinstance(inner, ast.Call) and backend:
            found += [ast.keyword("backend", ast.Constant(backend)), *inner.keywords]
        else:
            found.append(each)
    return found


def value_of(node: ast.expr, script: str) -> Any:
    """Return the value of an argument: what is written, what its name is set to, torch.float16's last part;
    of what must be run a word that no flag takes."""
    if isinstance(node, ast.Name):
        match = re.search(rf"^[ \t]*{node.id}[ \t]*=[ \t]*([^\n#]+)", script, re.MULTILINE)
        if match is None:
            return f"${node.id}"
        try:
            return ast.literal_eval(match[1].strip())
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            return f"${node.id}"
    if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "torch":
        return node.attr
    try:
        return ast.literal_eval(node)
    except (ValueError, RecursionError, MemoryError):
        return f"${ast.unparse(node)[:40]}"


def said(value: Any) -> str:
    """Return a value as a command line has it; a mapping is JSON."""
    try:
        return json.dumps(value) if isinstance(value, dict | list) else str(value)
    except (TypeError, ValueError, RecursionError):
        return "$value"
