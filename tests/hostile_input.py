"""Files and answers of the tests by hostile input."""

import json
from pathlib import Path
from typing import Any

from budget import MAX_CPU_S, budget
from command import Answer, call
from oomless import facts

MEGATRON = "--num-layers 12 --hidden-size 768 --num-attention-heads 12 --seq-length 1024 --vocab-size 50000 "
CODER = facts.model_config("deepseek-coder-1.3b")


def written(folder: Path, name: str, content: str | bytes | dict[str, Any]) -> str:
    """A file of the test, by its path."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(content, dict):
        content = json.dumps(content)
    path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8", "surrogatepass"))
    return str(path)


def within(*words: str, cpu_s: float = MAX_CPU_S) -> Answer:
    """An answer of this process that kept to the budget and was no internal error."""
    with budget(cpu_s):
        answer = call(*words)
    assert "internal error" not in answer.err, answer.err
    return answer
