"""The cards that a pasted command runs on."""

from math import prod
from typing import TYPE_CHECKING, Any

from ..engines import engine
from ..engines.command_line import line_of
from ..errors import OomlessError, UsageError
from ..run.hardware import MAX_GPUS, parse_gpu, with_count

if TYPE_CHECKING:
    from ..engines.command_reading import Command


def with_cards(given: dict[str, Any], command: "Command") -> dict[str, Any]:
    """Return options with the cards that a container asks for: its number where --gpu says none, and its name
    where there is no --gpu.

    >>> from ..engines.command_line import read_command
    >>> with_cards({"gpu": "h200"}, read_command("CUDA_VISIBLE_DEVICES=0,1 vllm serve m"))["gpu"]
    'h200:2'
    """
    gpu, count = given.get("gpu"), command.visible
    nodes = f"x{command.nodes}" if command.nodes > 1 else ""
    if isinstance(gpu, str) and command.part and "@" not in gpu and parse_gpu(gpu).card.shared_bytes:
        name, colon, number = gpu.partition(":")
        given = {**given, "gpu": (gpu := f"{name}@{command.part}{colon}{number}")}
    if gpu is None and command.card:
        try:
            parse_gpu(command.card)
        except OomlessError:
            return given
        gpu = command.card
    return given if gpu is None else {**given, "gpu": with_count(gpu, f"{count}{nodes}" if count else None)}


SIZES = ("tp", "pp", "dp")


def on_its_cards(given: dict[str, Any], command: "Command") -> tuple[dict[str, Any], tuple[str, ...]]:
    """Return (options, notes) of one server: a command starts no replicas, takes no more cards than its ranks
    or what is visible, and without a size it is one rank. On cards of a maker with an engine of its own, a
    command of the same words starts that one."""
    given = {**given, "engine": engine_there(given["engine"], parse_gpu(given["gpu"]).card.vendor)}
    notes = list[str]()
    if command.visible is None:
        given["gpu"], notes = for_its_ranks(given["gpu"], given)
    hardware, its = parse_gpu(given["gpu"]), engine(given["engine"])
    machines = max(command.nodes, hardware.num_nodes)  # what is visible is so on each of them
    seen = hardware.num_gpus if command.visible is None else command.visible * machines
    used = seen
    if its.axis == "tp":
        if not any(name in given for name in SIZES):
            given = {**given, "tp": 1}
            notes.append("the command says no number of ranks, so its engine starts one")
        used = num_ranks(given)
        if used > seen and command.visible is not None:
            raise UsageError(
                f"the command leaves {seen} cards visible, and starts {used} ranks",
                "name as many cards as ranks",
                "command",
            )
    elif its.spreads(given) and "pp" not in given:
        given = {**given, "pp": min(seen, hardware.per_node, its.most_devices or seen)}
    name, colon, count = given["gpu"].partition(":")
    per_node = min(used, hardware.per_node)
    shared = "concurrency" in given and command.visible is None  # a load over all cards: copies divide it
    narrows = 0 < used < hardware.num_gpus and not shared
    if not narrows or not count.replace("x", "").isdecimal() or used % per_node:
        return given, tuple(notes)
    notes.append(f"one server on {used} of {hardware.num_gpus} cards")
    return {**given, "gpu": f"{name}{colon}{per_node}x{used // per_node}"}, tuple(notes)


def num_ranks(given: dict[str, Any]) -> int:
    """Return how many cards an engine's flags start ranks on, or share layers among.

    >>> num_ranks({"engine": "vllm", "tp": 4, "dp": 2})
    8
    >>> num_ranks({"engine": "sglang", "tp": 8, "dp": 8, "enable_dp_attention": True})
    8
    >>> num_ranks({"engine": "llamacpp", "tensor_split": "3,1"}), num_ranks({"engine": "llamacpp"})
    (2, 1)
    """
    its = engine(given["engine"])
    if its.axis != "tp":
        return given.get("pp") or its.num_named(given)
    inside = given.get("enable_dp_attention", False)
    return prod(given.get(name) or 1 for name in SIZES if name != "dp" or not inside)


def for_its_ranks(gpu: str, given: dict[str, Any]) -> tuple[str, list[str]]:
    """Return (cards, notes): a name without a number is as many as a command's ranks.

    >>> for_its_ranks("h100", {"engine": "vllm", "tp": 4})
    ('h100:4', ['--gpu h100 says no number of cards: 4 are counted, as many as the command takes'])
    >>> for_its_ranks("h100:8", {"engine": "vllm", "tp": 4})
    ('h100:8', [])
    """
    ranks = num_ranks(given)
    counted = str(with_count(gpu, ranks)) if 1 < ranks <= MAX_GPUS else gpu
    if counted == gpu:
        return gpu, []
    return counted, [
        f"--gpu {gpu} says no number of cards: {ranks} are counted, as many as the command takes"
    ]


def engine_there(name: str, vendor: str) -> str:
    """Return the engine that a command starts on a maker's cards: one of the same words where they have their
    own.

    >>> engine_there("vllm", "Huawei"), engine_there("vllm", "NVIDIA"), engine_there("sglang", "Huawei")
    ('vllm-ascend', 'vllm', 'sglang')
    """
    line, there = line_of(name), dict(engine(name).cards.instead).get(vendor)
    return there if there and line is not None and there in line.engines.split() else name
