"""The profile run of vLLM 0.2.5 to 0.6.3, whose peak is what the card has less of after it.

That is every segment which torch's allocator holds then, in use or not, so tensors are made and freed here in
the engine's order (vllm/worker/worker.py and models/ of these releases).
"""

from typing import TYPE_CHECKING

from ...ledger import Line
from ...model.attention import GQA, MLA, Attention
from ...model.feedforward import FeedForward, MoE
from ...recording.allocator import Allocator, OutOfMemory
from ...recording.block import Block
from ..overhead_lines import fitted_line
from .profile_attention import linear_bytes
from .profile_feed_forward import BITSANDBYTES
from .weights import placed_weights

if TYPE_CHECKING:
    from .profile import ProfileRun

LAYERS_OF_A_KIND = 2
"""The second finds the blocks that the first has left; no later one asks for more."""
PADDED_HEAD = 256
"""To which these releases pad the heads of latents (models/deepseek_v2.py: head sizes that kernels know)."""
PACKED = ("awq", "gptq", BITSANDBYTES)
LEAST_OF_MARLIN = 8.0
"""Capability from which Marlin multiplies packed matrices, where a release has it."""
INDEX, F32 = 8, 4
"""Bytes of a place in a sorted row, and of a probability."""


class ProfileWalk:
    """Tensors of a rank that come and go. Sizes in elements of the model's type."""

    def __init__(self, run: "ProfileRun", room: int | None) -> None:
        self.run, self.allocator = run, Allocator(capacity=room)
        self.tokens, self.width = run.tokens, run.width
        self.hidden = run.tokens * run.model.hidden_size
        self.ranks = run.asked.layout.tp
        form = run.asked.quantization or run.model.quantization
        self.packed = form if form in PACKED else None
        """Matrices whose kernels make more than their product."""

    def new(self, elements: float) -> Block:
        """A tensor of the model's type."""
        return self.bytes(int(elements) * self.width)

    def bytes(self, size: int) -> Block:
        return self.allocator.allocate(size)

    def free(self, *blocks: Block) -> None:
        for block in blocks:
            self.allocator.free(block)

    def product(self, inner: int, outer: int, part: int = 0) -> Block:
        """All tokens times a matrix: the first kernel for AWQ makes parts that it adds up, later ones and
        GPTQ's unpack the matrix (layers/quantization/awq.py of 0.2.7 and 0.3.0). `part`: the widest of the
        matrices that are fused in it."""
        rules, beside = self.run.rules, 0
        if self.packed == BITSANDBYTES:
            return self.product_of_parts(inner, outer, part or outer)
        if self.packed == "awq" and rules.awq_parts:
            beside = rules.awq_parts * self.tokens * outer
        elif self.packed and not self.by_marlin:
            beside = inner * outer
        temporary = [self.new(beside)] if beside else []
        found = self.new(self.tokens * outer)
        self.free(*temporary)
        return found

    def product_of_parts(self, inner: int, outer: int, part: int) -> Block:
        """All tokens times a matrix of bitsandbytes, which multiplies in BF16: a part is unpacked, multiplied
        and copied into the whole, which is cast back (layers/quantization/bitsandbytes.py of 0.5.0)."""
        cast = self.run.asked.dtype != "bfloat16"
        inputs = [self.new(self.tokens * inner)] if cast else []
        found = self.new(self.tokens * outer)
        self.free(self.new(inner * part), self.new(self.tokens * part))
        if not cast:
            return found
        back = self.new(self.tokens * outer)
        self.free(found, *inputs)
        return back

    @property
    def by_marlin(self) -> bool:
        """Whether Marlin multiplies packed matrices, which it leaves packed."""
        rules = self.run.rules
        known = rules.awq_by_marlin if self.packed == "awq" else rules.gptq_by_marlin
        return known and self.run.hardware.card.capability >= LEAST_OF_MARLIN

    def forward(self) -> Block:
        """Two layers of each kind beside cuBLAS's workspace; return the hidden states that come out."""
        states, _ = self.new(self.hidden), self.bytes(self.run.cublas)
        residual: Block | None = None
        for kind in self.run.stage.kinds(self.run.model).kinds:
            for _ in kind.layers[:LAYERS_OF_A_KIND]:
                if residual is None:
                    residual, states = states, self.new(self.hidden)
                attended = self.attention(kind.attention)
                self.free(states)
                states = self.feed_forward(kind.ffn)
                self.free(attended)
        if residual is not None:
            self.free(residual)
        return states

    def attention(self, attention: Attention) -> Block:
        """Project, attend into the kernel's own output and copy it, project back."""
        core = attention.core
        if isinstance(core, MLA):
            return self.latent_attention(core)
        if not isinstance(core, GQA):  # models with states, of which these releases know one
            size = linear_bytes(core, self.run.asked, self.run.model.hidden_size, self.width)
            self.free(self.bytes(size))
            return self.new(self.hidden)
        heads = -(-core.num_heads // self.ranks)
        groups = -(-core.num_kv_heads // self.ranks)
        hidden, rows = self.run.model.hidden_size, heads * core.head_dim
        projected = self.product(hidden, rows + 2 * groups * core.head_dim, rows)
        output, made = self.new(self.tokens * rows), self.new(self.tokens * rows)
        self.free(made)
        back = self.product(rows, hidden)
        self.free(output, projected)
        return back

    def latent_attention(self, mla: MLA) -> Block:
        """Queries, keys and values of all heads, turned, joined and padded one after the other."""
        tokens, heads = self.tokens, max(mla.num_heads // self.ranks, 1)
        query = tokens * heads * (mla.qk_nope_head_dim + mla.qk_rope_head_dim)
        if mla.q_lora_rank:
            low, normed = self.new(tokens * mla.q_lora_rank), self.new(tokens * mla.q_lora_rank)
            self.free(low)
            queries = self.new(query)
            self.free(normed)
        else:
            queries = self.new(query)
        latent = self.new(tokens * (mla.kv_lora_rank + mla.qk_rope_head_dim))
        cut, normed = self.new(tokens * mla.kv_lora_rank), self.new(tokens * mla.kv_lora_rank)
        self.free(cut)
        expanded = self.new(tokens * heads * (mla.qk_nope_head_dim + mla.v_head_dim))
        turned = [self.turned(tokens * each * mla.qk_rope_head_dim) for each in (heads, 1)]
        keys = self.new(query)
        padded = [self.new(tokens * heads * PADDED_HEAD)]
        self.free(queries)
        padded.append(self.new(tokens * heads * PADDED_HEAD))
        self.free(keys)
        padded.append(self.new(tokens * heads * PADDED_HEAD))
        output, made = self.new(tokens * heads * PADDED_HEAD), self.new(tokens * heads * PADDED_HEAD)
        self.free(made)
        values = self.new(tokens * heads * mla.v_head_dim)
        self.free(output)
        back = self.new(self.hidden)
        self.free(values, *padded, expanded, normed, latent, *turned)
        return back

    def turned(self, elements: int) -> Block:
        """x * cos + rotated(x) * sin, in torch's own operations."""
        first, rotated = self.new(elements), self.new(elements)
        second = self.new(elements)
        self.free(rotated)
        found = self.new(elements)
        self.free(first, second)
        return found

    def feed_forward(self, ffn: FeedForward) -> Block:
        """A dense one, or experts with what they share."""
        if not isinstance(ffn, MoE):
            return self.dense(ffn.intermediate_size // self.ranks, ffn.gated)
        if self.packed or not self.run.rules.fuses_experts:
            return self.looped(ffn)
        tokens, active = self.tokens, ffn.num_active_experts
        shared = [self.dense(ffn.shared_width // self.ranks, ffn.gated)] if ffn.shared_width else []
        scores = [self.new(tokens * ffn.num_experts) for _ in range(2)]
        chosen = [self.bytes(tokens * active * F32) for _ in range(2)]
        rows = min(tokens, self.run.rules.experts_per_call or tokens) * active
        inner = ffn.expert_width // self.ranks
        made = [self.new(rows * each) for each in (2 * inner, inner, self.run.model.hidden_size)]
        self.free(*made)
        if not shared:
            found = self.new(self.hidden)
        else:  # scaled, then added
            scaled = self.new(self.hidden)
            found = self.new(self.hidden)
            self.free(scaled)
        self.free(*scores, *chosen, *shared)
        return found

    def dense(self, inner: int, gated: bool) -> Block:
        """Project up, activate, project down."""
        hidden = self.run.model.hidden_size
        projected = self.product(hidden, (1 + gated) * inner, inner)
        activated = self.new(self.tokens * inner)
        self.free(projected)
        found = self.product(inner, hidden)
        self.free(activated)
        return found

    def looped(self, ffn: MoE) -> Block:
        """Experts whole on their rank, one after the other, each with all tokens (models/mixtral.py of 0.2.7,
        later mixtral_quant.py)."""
        hidden, inner, total = self.run.model.hidden_size, ffn.expert_width, None
        for _ in range(LAYERS_OF_A_KIND):
            first = self.product(hidden, inner)
            gate = self.new(self.tokens * inner)
            self.free(first)
            second = self.product(hidden, inner)
            both = self.new(self.tokens * inner)
            self.free(gate, second)
            found = self.product(inner, hidden)
            self.free(both)
            if total is None:
                total = found
            else:
                self.free(found)
        assert total is not None
        return total

    def sample(self) -> None:
        """Rows' logits, gathered from the ranks, are sorted for top-p and sampled: up to 0.5.4 in the model's
        type, then in F32 (model_executor/layers/sampler.py). A sort holds its rows' places and a copy of both
        it sorts (ATen's SortStable.cu)."""
        num_logits = self.run.rows * self.run.model.num_logits
        selected = self.new(self.run.rows * self.run.model.hidden_size)
        logits = self.new(num_logits // self.ranks)
        if self.ranks > 1:
            parts = [self.new(num_logits // self.ranks) for _ in range(self.ranks)]
            mine, logits = logits, self.new(num_logits)
            self.free(*parts, mine)
        self.free(selected)
        width = F32 if self.run.rules.v0_samples_in_f32 else self.width
        scored = [logits] if width == self.width else [logits, self.bytes(num_logits * width)]
        order, places = self.bytes(num_logits * width), self.bytes(num_logits * INDEX)
        self.free(self.bytes(num_logits * INDEX), self.bytes(num_logits * (INDEX + width)))
        summed = [self.bytes(num_logits * width) for _ in range(2)]
        inverse, chosen = self.bytes(num_logits * INDEX), self.bytes(num_logits * width)
        self.free(order, places, inverse, *summed, *scored)
        self.free(*[self.bytes(num_logits * F32) for _ in range(4)], chosen)


def replayed_lines(run: "ProfileRun") -> list[Line]:
    """What the card has less of after the forward pass, and what sampling adds to that. Where the card ends,
    torch gives unused segments back.

    DeepSeek-Coder-V2-Lite reads 163,840 tokens at once on two L40 with 0.5.1 and has 63,040 tokens of cache
    left (vllm#6156), 11.9 GiB less with NCCL's buffers:

    >>> from ...model.load import load
    >>> from ...run.hardware import parse_gpu
    >>> from ...run.serving import Layout, Resolved
    >>> from ...units import GIB
    >>> from ..rank import Stage
    >>> from .profile import ProfileRun
    >>> from .release import RELEASES
    >>> asked = Resolved(
    ...     dtype="float16", layout=Layout(tp=2), max_num_batched_tokens=163840, max_num_seqs=256
    ... )
    >>> model, cards, rules = load("deepseek-coder-v2-lite"), parse_gpu("l40:2"), RELEASES.at("0.5.1")
    >>> lines = replayed_lines(ProfileRun(model, asked, cards, Stage(0, 1, 0, 27), rules, ("v0", "tp")))
    >>> round(sum(line.bytes for line in lines) / GIB, 1)
    11.8
    """
    placed = placed_weights(run.model, run.asked, run.hardware, run.stage)
    room = run.hardware.card.memory_bytes - sum(each.total_bytes for each in placed)
    try:
        passed, taken = replayed(run, max(room, 0))
    except OutOfMemory:
        passed, taken = replayed(run, None)
    spread, source = run.constant("replayed_spread"), "engines/vllm/v0_replay.py"
    formula = f"{run.tokens} tokens through two layers of each kind: segments that torch holds"
    lines = [fitted_line("activations.profile_run", passed, spread, formula, source)]
    if taken > passed:
        formula = (
            f"{run.rows} rows x {run.model.num_logits} sorted: segments beside those of the forward pass"
        )
        lines.append(fitted_line("logits.sampler", taken - passed, spread, formula, source))
    return lines


def replayed(run: "ProfileRun", room: int | None) -> tuple[int, int]:
    """Bytes of segments after the forward pass, and after sampling."""
    walk = ProfileWalk(run, room)
    states = walk.forward()
    passed = walk.allocator.reserved
    if run.stage.last:
        walk.free(states)
        walk.sample()
    return passed, walk.allocator.reserved
