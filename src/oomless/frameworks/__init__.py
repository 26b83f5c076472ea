"""What trains models: one record a framework, Megatron-LM as its arguments say it, and the graphs of a
layer's step that every framework runs."""

from functools import cache
from importlib import import_module

from .. import facts
from ..errors import UsageError, did_you_mean
from ..run.training import Method, Task
from .record import Framework, of_facts

FOLDERS = {
    "transformers": "trainer",
    "peft": "trainer",
    "trl": "trainer",
    "ms-swift": "ms_swift",
    "megatron-swift": "ms_swift",
    "deepspeed": "deepspeed",
    "fsdp": "fsdp",
    "verl": "verl",
    "openrlhf": "openrlhf",
    "torchtitan": "torchtitan",
    "torchtune": "torchtune",
    "megatron-lm": "megatron",
    "megatron-bridge": "slime",
    "llama-factory": "llama_factory",
    "llama-recipes": "llama_recipes",
    "axolotl": "axolotl",
}
"""Frameworks with a module of their own, which is loaded when they are asked for: its RECORDS. Of the others
the tables know all that is known here."""
CONFIGURED = ("torchtitan", "deepspeed", "axolotl", "llama-factory")
"""Frameworks whose configuration files are read."""
BY_COMMAND = ("torchtune",)
"""Frameworks whose configuration files are read with the command that names them."""
PLANNED: dict[Method, tuple[str, ...]] = {
    "full": ("fsdp", "deepspeed", "megatron-lm"),
    "lora": ("peft", "llama-factory", "axolotl"),
    "qlora": ("peft", "llama-factory", "axolotl"),
}
"""Frameworks that a plan tries where the user names none: those whose launch files are known here."""
OF_PAIRS = ("trl", "llama-factory", "axolotl")
"""Frameworks whose launch files compare pairs of answers, with all weights and with adapters."""


def planned(method: Method, task: Task) -> tuple[str, ...]:
    """Return the frameworks that a plan tries for a method and a task where the user names none.

    >>> planned("full", "sft"), planned("full", "dpo")
    (('fsdp', 'deepspeed', 'megatron-lm'), ('trl', 'llama-factory', 'axolotl'))
    """
    return OF_PAIRS if task == "dpo" else PLANNED[method]


TRAINER = "transformers"
"""Whose loop most others call, so that their logs read as its own."""
PROGRAMS = {"megatron": "megatron-lm"}
"""What a reader of logs calls a program, where its framework has another name."""


def names() -> tuple[str, ...]:
    """Return the names of all frameworks."""
    return tuple(row["framework"] for row in facts.table("frameworks"))


@cache
def framework(name: str) -> Framework:
    """Return the record of a framework.

    >>> framework("trl").packages, framework("deepspeed").plan.shardings
    (('transformers', 'trl', 'deepspeed', 'torch', 'accelerate', 'bitsandbytes'), ('zero2', 'zero3'))
    """
    if name not in names():
        raise UsageError(f"unknown framework {name!r}", did_you_mean(name, sorted(names())))
    if name not in FOLDERS:
        return of_facts(name)
    records: dict[str, Framework] = import_module(f".{FOLDERS[name]}", __name__).RECORDS
    return records[name]


def framework_of_log(program: str) -> Framework | None:
    """Return the framework that wrote a log, with the module that reads it; None: no question of it is read.

    >>> framework_of_log("megatron").name, framework_of_log("trl").log, framework_of_log("vllm")
    ('megatron-lm', 'trainer.log', None)
    """
    name = PROGRAMS.get(program, program)
    if name not in names():
        return None
    found = framework(name)
    return found if found.log else found._replace(log=framework(TRAINER).log)
