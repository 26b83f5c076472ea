"""How fast does it serve? A steady load or a simulated workload, under the flags' names as keywords."""

from typing import TYPE_CHECKING, Any

from ..errors import UsageError
from ..facts.options.simulating import OWN
from ..model.model import Model
from ..run.cards import Hardware
from ..run.options import by_keyword, given
from ..speed.batching import Request
from ..speed.dynamic import Dynamic
from ..speed.serving import ServingSpeed
from ..speed.workload import Lengths, parse_lengths
from .serving import ServingAnswer, infer

if TYPE_CHECKING:
    from ..truth.silicon import Silicon


class SpeedAnswer:
    """The speed of a load, and whether that load fits."""

    def __init__(
        self,
        serving: ServingAnswer,
        speed: "ServingSpeed | Dynamic",
        at_once: int,
        lengths: tuple[int, int] = (0, 0),
        silicon: "Silicon | None" = None,
    ) -> None:
        self.serving = serving
        """The same question as `infer` answers it."""
        self.speed = speed
        self.at_once = at_once
        """Sequences of the load that run together, over all replicas."""
        self.lengths = lengths
        """Tokens of a prompt and of an answer in a steady load."""
        self.silicon = silicon
        """What NVIDIA's measured kernels give; None: they were not asked."""

    @property
    def starts(self) -> bool:
        return self.serving.starts

    @property
    def warnings(self) -> tuple[str, ...]:
        return (*self.serving.warnings, *self.speed.warnings)

    def beside_silicon(self) -> "SpeedAnswer":
        """Return the same answer with what NVIDIA's measured kernels give; the extra `silicon` has them."""
        from ..truth.silicon import silicon_speed

        if isinstance(self.speed, Dynamic):
            raise UsageError("--against silicon is for a steady load", "leave out the workload", "against")
        estimate = self.serving.estimate
        found = silicon_speed(
            estimate,
            input_len=self.lengths[0],
            output_len=self.lengths[1],
            concurrency=estimate.concurrency,
        )
        return SpeedAnswer(self.serving, self.speed, self.at_once, self.lengths, found)

    def to_json(self) -> dict[str, Any]:
        """Return the object that `speed --json` prints."""
        document = self.serving.to_json()
        against = {"against": self.silicon.to_json()} if self.silicon else {}
        return {
            "schema": "oomless/workload/1" if isinstance(self.speed, Dynamic) else "oomless/speed/1",
            "model": document["model"],
            "request": document["request"],
            "verdict": self.serving.verdict,
            "starts": self.starts,
            "at_once": self.at_once,
            "headroom_bytes": self.serving.headroom_bytes,
            "layout": document["request"]["layout"],
            "replicas": self.serving.replicas,
            **self.speed.to_json(),
            **against,
            "warnings": list(self.warnings),
        }

    def __repr__(self) -> str:
        from .screen import speed_screen

        return "\n".join(speed_screen(self))


SIMULATES = tuple(option.field for option in OWN if option.group == "simulation")
BY_WORKLOAD = ("arrival_rate", "input_len", "output_len", "requests", "seed", "concurrency")
"""What a file of requests says by itself."""


def speed(
    model: str | Model,
    gpu: str | Hardware,
    *,
    offline: bool = False,
    revision: str | None = None,
    notes: tuple[str, ...] = (),
    **flags: Any,
) -> SpeedAnswer:
    """Return how fast `model` serves on `gpu`. The flags are those of `oomless speed`.

    >>> answer = speed("deepseek-r1", "h200:8", tp=8, max_model_len=16384, concurrency=32)
    >>> answer.serving.verdict, answer.at_once, answer.speed.running
    ('fits', 32, 32.0)
    """
    values = given("speed", flags)
    table = by_keyword("speed")
    own = {option.field: values.pop(option.field, None) for option in OWN}
    simulated = own["arrival_rate"] is not None or own["workload"] is not None
    if not simulated and (extra := [name for name in SIMULATES if own[name] is not None]):
        raise UsageError(
            f"{table[extra[0]].flag} is for a simulation",
            "give --arrival-rate or --workload with it",
            extra[0],
        )
    load: dict[str, Any] = {} if simulated else steady_load(own)
    serving = infer(model, gpu, offline=offline, revision=revision, **values, **load).noting(*notes)
    if own["host"] is not None:
        from ..speed.host_offload import on_the_host

        if not on_the_host(serving.estimate):
            raise UsageError(
                f"--host {own['host']}: no weights lie on the host",
                "leave it out, or leave some there: --n-cpu-moe 30",
                "host",
            )
    return simulation(serving, own) if simulated else steady(serving, own)


def steady(serving: ServingAnswer, own: dict[str, Any]) -> SpeedAnswer:
    """Return the speed of a load that stays the same, which `serving` was asked about."""
    from ..speed.serving import serving_speed

    prompts, outputs = lengths_of(own)
    found = serving_speed(
        serving.estimate,
        input_len=round(prompts.mean),
        output_len=round(outputs.mean),
        concurrency=serving.estimate.concurrency,
        host=own["host"],
    )
    if not serving.starts:
        found = found._replace(warnings=(*found.warnings, PACE_ALONE))
    return SpeedAnswer(serving, found, serving.at_once, (round(prompts.mean), round(outputs.mean)))


PACE_ALONE = (
    "the engine does not start like this: the figures are the pace of the cards, not that of a server"
)


def steady_load(own: dict[str, Any]) -> dict[str, int]:
    """Return the load as `infer` is asked about it: prompt and answer are one sequence.

    >>> steady_load({"input_len": "2000", "output_len": "500", "concurrency": 32})
    {'context': 2500, 'concurrency': 32}
    """
    prompts, outputs = lengths_of(own)
    return {
        "context": round(prompts.mean) + round(outputs.mean),
        "concurrency": own["concurrency"] or 1,
    }


def simulation(serving: ServingAnswer, own: dict[str, Any]) -> SpeedAnswer:
    """Return what the requests of a workload meet."""
    from ..speed.dynamic import policy_of, run_workload
    from ..speed.setup import setup_of

    requests = requests_of(own)
    estimate = serving.estimate
    policy = policy_of(
        estimate,
        setup_of(estimate, own["host"]),
        own["memory_policy"] or "evict",
        not own["no_chunked_prefill"],
        own["shared_prefix"] or 0,
        own["token_budget"],
    )
    found = run_workload(estimate, requests, policy, own["host"])
    return SpeedAnswer(serving, found, found.most_running * found.replicas)


def requests_of(own: dict[str, Any]) -> list[Request]:
    """Return the requests of a file, or those that a rate and two lengths make."""
    from ..speed.workload import poisson, read_workload

    if own["workload"] is not None:
        for name in BY_WORKLOAD:
            if own[name] is not None:
                raise UsageError(
                    f"--workload says what --{name.replace('_', '-')} says", "give one of them", name
                )
        return read_workload(own["workload"])
    if own["concurrency"] is not None:
        raise UsageError(
            "--concurrency and --arrival-rate are two kinds of load", "give one of them", "concurrency"
        )
    count = 1000 if own["requests"] is None else own["requests"]
    return poisson(own["arrival_rate"], count, *lengths_of(own), own["seed"] or 0)


def lengths_of(own: dict[str, Any]) -> tuple[Lengths, Lengths]:
    """Return the lengths of prompts and of answers."""
    prompts, outputs = (
        parse_lengths(own[name] or usual, f"--{name.replace('_', '-')}")
        for name, usual in (("input_len", "1024"), ("output_len", "256"))
    )
    return prompts, outputs
