"""A model on its cards, as every pass of serving sees it."""

from typing import NamedTuple

from ..engines import engine
from ..engines.speed_classes import speed_class
from ..estimate.serving.estimate import Estimate
from ..run.serving import Asked, Layout
from .drafts import Drafts, drafts_of, with_drafts
from .forward import forward
from .host_offload import Hosted, divided, hosted_pass
from .load import ForwardPass, Load, Runner, Split
from .machine import Machine, machines_of
from .network import Network, need_decoder, network


class Setup(NamedTuple):
    """A model on its cards: what every pass shares."""

    net: Network
    machine: Machine
    split: Split
    run: Runner
    cache_bits: int
    budget: int
    """Tokens of a step, over all data-parallel groups."""
    hosted: Hosted | None = None
    """What the host has of the model."""
    drafts: Drafts | None = None
    """What a step drafts and checks; None: it gives each sequence one token."""

    @property
    def accepted(self) -> float:
        """Return the tokens that a step gives a sequence."""
        return self.drafts.accepted.length if self.drafts else 1.0

    @property
    def checked(self) -> int:
        """Return the tokens of a sequence that a step works on."""
        return 1 + self.drafts.tokens if self.drafts else 1

    @property
    def micro_batches(self) -> int:
        """Return the micro-batches of a full pipeline, each of which has a share of the sequences."""
        return self.split.pp if self.split.overlaps_stages else 1

    @property
    def is_bound(self) -> bool:
        """Whether nothing was measured of such a machine, so that figures are what the hardware allows at
        best."""
        return self.machine.device == "other" or self.hosted is not None

    def forward(self, load: Load) -> ForwardPass:
        """The time of one pass, with the drafts of a step or of a prompt beside it."""
        if self.hosted is not None:
            return hosted_pass(self.net, self.hosted, self.machine, self.split, self.run, load, self.budget)
        if self.drafts is None:
            return forward(self.net, self.machine, self.split, self.run, load)
        main = forward(self.net, self.machine, self.split, self.run, load._replace(checked=self.checked))
        if self.drafts.net is None:
            return main
        split, run, drafting = self.split._replace(pp=1), self.run, []
        for times, part in (
            (self.drafts.tokens, load._replace(prompt_tokens=0.0)),
            (1, load._replace(sequences=0.0)),  # the draft reads prompts too
        ):
            if part.tokens:
                drafting.append((times, forward(self.drafts.net, self.machine, split, run, part)))
        return with_drafts(main, drafting)


def setup_of(estimate: Estimate, host: str | None = None) -> Setup:
    """The cards, the split and the engine's class of an estimate; `host`: the kind of machine around the
    cards, of facts/hosts.csv."""
    request = estimate.request
    need_decoder(estimate.model)
    machine = machines_of(estimate.hardware)[0]
    layout = request.worked
    split = split_of(layout, request.engine, estimate.hardware.per_node)
    whole = max(BUDGET, request.max_model_len or 0)  # transformers reads prompts whole
    budget = (request.max_num_batched_tokens or request.ubatch_size or whole) * layout.dp  # of all groups
    parts = divided(estimate, host)
    net, hosted = parts or (network(estimate.model, request.quantization), None)
    return Setup(
        net,
        machine,
        split,
        runner_of(request, bool(net.experts) and machine.device in NVIDIA),
        request.cache_bits,
        budget,
        hosted,
        None if hosted else drafts_of(request, estimate.model, net),
    )


def split_of(layout: Layout, name: str, per_node: int) -> Split:
    """The engine's sizes as ranks that divide work."""
    inside = layout.enable_dp_attention
    overlaps = speed_class(engine(name).speed_class).overlaps_stages
    tp = layout.tp // layout.dp if inside and layout.tp % layout.dp == 0 else layout.tp
    ranks = layout.tp * (1 if inside else layout.dp)
    whole = layout.enable_expert_parallel or layout.ep_size > 1
    return Split(tp, layout.pp, layout.dp, ranks, whole, per_node, overlaps)


def runner_of(request: Asked, sparse: bool = False) -> Runner:
    """The class of an engine, and what its release does with its kernels, behind a server."""
    found = speed_class(engine(request.engine).speed_class)
    conditions = found.conditions(request.engine_version or "", sparse) | {"served"}
    conditions |= {"eager"} if request.enforce_eager else set()
    return Runner(found.name, conditions, request.largest_graph)


NVIDIA = ("hbm", "gddr", "unified")

BUDGET = 8192
"""Tokens of a step where the engine does not say: max_num_batched_tokens of vLLM on large cards,
chunked_prefill_size of SGLang."""
