"""Prefill and decode apart -> how one machine of each side is started, and the router before them."""

import shlex
from typing import Literal, NamedTuple

from ... import facts
from ...model.model import Model
from ...run.cards import Hardware
from ...run.serving import Asked
from . import Code, FileText, Launch
from .cluster import PORT, cluster_files, on_each, serve
from .serving import served_name, start_of
from .shell import command, comment, launch_files, script

SideName = Literal["prefill", "decode"]
PORTS: dict[SideName, int] = {"prefill": 8100, "decode": 8200}
"""Of each side's server; clients ask the router, at PORT."""
OWN_ADDRESS = Code("\"$(hostname -I | cut -d ' ' -f 1)\"")


class PairLaunch(NamedTuple):
    """Both sides, and what stands before them."""

    prefill: Launch
    decode: Launch
    router: Launch

    @property
    def files(self) -> dict[str, FileText]:
        """Every file by its name in one folder."""
        return {
            **launch_files(self.prefill, "prefill/"),
            **launch_files(self.decode, "decode/"),
            **self.router.files,
        }


def pairs() -> dict[str, dict[str, str]]:
    """Return how each engine that can is told of two sides, by its name.

    >>> list(pairs())
    ['vllm', 'sglang']
    """
    return {row["engine"]: row for row in facts.table("engine_pairs")}


def side_launch(model: Model, word: str, asked: Asked, hardware: Hardware, side: SideName) -> Launch:
    """Return how one machine, or one group of machines, of a side is started."""
    pair, port = pairs()[asked.engine], PORTS[side]
    ports = (port, *map(int, pair["bootstrap_port"].split())) if side == "prefill" else (port,)
    variable = pair["address_variable"]
    address = (Code("env"), Code(f"{variable}={OWN_ADDRESS}")) if variable else ()
    start = command(*address, *start_of(model, word, asked), *shlex.split(pair[side]))
    num_nodes = -(-asked.sizes.num_ranks // hardware.per_node)
    name = "-".join((side, model.name))
    files = cluster_files(name, start, asked, hardware, num_nodes, ports, pair["packages"])
    files.pop("ray.sh", None)  # Ray hands the first machine's address to all
    note, each = served_name(model, word, asked)[1], on_each(start, asked, num_nodes, port)
    return Launch(command(start, serve(port)), files, note, each)


def router_launch(name: str, num_prefill: int, num_decode: int) -> Launch:
    """Return how the router is started before so many machines, whose addresses are variables.

    >>> print(router_launch("sglang", 1, 1).command)  # doctest: +NORMALIZE_WHITESPACE
    python -m sglang_router.launch_router --pd-disaggregation --prefill "http://${PREFILL_1}:8100" 8998
    --decode "http://${DECODE_1}:8200" --host 0.0.0.0 --port 8000
    """
    pair = pairs()[name]
    port = pair["bootstrap_port"].split()
    urls: list[tuple[str, ...]] = [
        ("--prefill", machine_url("prefill", number), *port) for number in range(1, num_prefill + 1)
    ]
    urls += [("--decode", machine_url("decode", number)) for number in range(1, num_decode + 1)]
    start = command(*pair["router"].split(), *(word for each in urls for word in each), serve(PORT))
    package = pair["router_package"]
    note = f"PREFILL_1, DECODE_1 ...: addresses of the machines; pip install {package}"
    text = script("/bin/sh", comment(note), Code("set -eu"), command(Code("exec"), start))
    return Launch(start, {"router.sh": text}, note)


def machine_url(side: SideName, number: int) -> Code:
    """Return where the router finds a machine of a side."""
    return Code(f'"http://${{{side.upper()}_{number}}}:{PORTS[side]}"')
