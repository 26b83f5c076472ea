"""The peak of vLLM's profile run: max_num_batched_tokens tokens through the model, then max_num_seqs rows
through the sampler; the larger of the two phases counts.

Each phase is a function of one ProfileRun: what stays (workspaces, images), the forward pass, sampling.
"""

from ... import facts
from ...facts import Constant
from ...ledger import Line, ranged
from ...model.attention import DSA, V4, V41, Linear
from ...model.feedforward import MoE
from ...model.model import Model
from ...model.storage import DTYPES
from ...records import Record
from ...run.cards import Hardware
from ...run.serving import Resolved
from ..overhead_lines import fitted_line, up_to
from ..rank import Stage
from .profile_attention import expanded_context_bytes, linear_bytes, v0_attention_bytes
from .profile_feed_forward import (
    b12x_lines,
    expert_workspace,
    largest_layer,
    quantises_inputs,
    routed_copies,
    summed_parts,
    unpacked_bytes,
    widest_inner,
)
from .release import VllmRules
from .runners import may_run_second, runs_second

ATTENTION_TAGS = ("mla", "v4")
HOPPER_SMS = 132
"""Multiprocessors of a card whose table row has none: the largest that the constants were measured on."""


def is_sparse(model: Model) -> bool:
    """Whether layers attend to chosen tokens alone."""
    return model.kinds.has(DSA, V4, V41)


class ProfileRun(Record):
    """One rank's profile run: the question, and the conditions of engines.csv that hold."""

    model: Model
    asked: Resolved
    hardware: Hardware
    stage: Stage
    rules: VllmRules
    tags: tuple[str, ...]

    @property
    def tokens(self) -> int:
        """Tokens of the batch."""
        return self.asked.max_num_batched_tokens or 0

    @property
    def rows(self) -> int:
        """Rows that are sampled."""
        return min(self.asked.max_num_seqs or 0, self.tokens)

    @property
    def width(self) -> int:
        """Bytes of an element."""
        return DTYPES[self.asked.dtype].bits // 8

    @property
    def hidden(self) -> int:
        """Hidden states of a token, in elements, all streams of it."""
        return self.model.hidden_size * self.model.streams

    def constant(self, quantity: str, *more: str) -> Constant:
        """Return the row of engines.csv that holds here."""
        return facts.constant("vllm", quantity, self.rules.release, *self.tags, *more)

    @property
    def cublas(self) -> int:
        """Bytes of cuBLAS's workspace."""
        return int(self.constant("cublas_workspace").value)

    @property
    def copies(self) -> float:
        """Hidden states that live at once in the forward pass."""
        passes_on = not self.stage.last and not self.rules.v0
        return self.constant("forward_hidden_copies", *(["passes_on"] if passes_on else [])).value

    @property
    def runner(self) -> str:
        """Return the word for the model runner that serves the model."""
        return "second_runner" if may_run_second(self.model, self.asked, self.rules) else "first_runner"

    @property
    def sampler_spread(self) -> Constant:
        """Return the spread of what sampling takes: the same code samples for every kind of attention."""
        if self.runner == "first_runner" and self.rules.has_second_runner:
            return self.constant("sampler_spread")
        tags = [tag for tag in self.tags if tag not in ATTENTION_TAGS]
        return facts.constant("vllm", "activation_spread", self.rules.release, *tags)

    @property
    def per_logit(self) -> Constant:
        """Return the bytes of a logit while its row is sampled."""
        return self.constant("sampler_bytes_per_logit", self.runner)

    @property
    def rejection(self) -> Constant:
        """Return what trying the drafts' sampler takes beside it, in bytes of a logit."""
        if not self.asked.speculative or self.rules.v0:
            return self.per_logit._replace(value=0.0, low=0.0, high=0.0)
        return self.constant("rejection_bytes_per_logit", self.runner)

    @property
    def sees_images(self) -> bool:
        """Return whether images are tried too: on Ascend, and by the second runner, only later."""
        if self.asked.skip_mm_profiling:
            return False
        second = runs_second(self.model, self.asked, self.rules, self.tags)
        if second and not self.rules.second_runner_tries_images:
            return False
        return "ascend" not in self.tags or self.rules.profiles_images_on_ascend

    def upper_end(self, quantity: str) -> float:
        """Return the most that something is known to take."""
        return self.constant(quantity).high


class ProfileKept(Record):
    """What lives through the whole run, and what the forward pass needs beside it."""

    workspace: int
    """Shared by experts and sparse attention, which stays."""
    images: int
    """Images and the tokens made of them."""
    scratch: int
    """Beside the hidden states while attention runs."""

    @property
    def num_bytes(self) -> int:
        """All that stays."""
        return self.workspace + self.images


def profile_lines(run: ProfileRun) -> list[Line]:
    """The activation peak: what stays + the larger of sampling and forward pass, hidden states in both.

    From 0.13 on experts and sparse attention share one workspace, which stays; before, the experts' lived
    while they ran.

    sampler = S*V*B + T*h*b + 2*S*h*b + multiprocessors*V*4 + cuBLAS;  forward = T*b*(3*ff + c*h) + cuBLAS +
    flush buffer. S sequences, T tokens, V vocabulary, b bytes of the dtype; B, c by version (engines.csv).
    Residuals: 2.4 % on 26 logs.
    """
    model, rules = run.model, run.rules
    experts = expert_workspace(run)
    kept = kept_bytes(run, experts)
    if rules.charges_segments:
        from .v0_replay import replayed_lines  # the first releases

        lines = replayed_lines(run)
    else:
        lines = counted_lines(run, kept, experts)
    if model.vision is None or not run.sees_images:
        return lines
    from .profile_images import scores_bytes, tower_bytes, with_tower

    card = run.hardware.card
    tower = tower_bytes(model, run.asked, kept.images, rules, run.width, card)
    capability = card.compute_capability
    scores = scores_bytes(model, run.asked, kept.images, run.width, rules, capability)
    return with_tower(lines, tower, run.constant("tower_spread"), scores) if tower or scores[1] else lines


def counted_lines(run: ProfileRun, kept: ProfileKept, experts: int) -> list[Line]:
    """The lines of a run whose peak is that of its tensors: of sampling, or of the forward pass."""
    forward = forward_bytes(run, kept, experts)
    logits, beside = logits_bytes(run), sampling_bytes(run)
    passing = forward_line(run, kept, forward, linear_end(run, kept, experts))
    if not run.stage.last:
        return [*b12x_lines(run), passing]
    least = int((forward - beside) * run.constant("activation_spread").low)
    sampler, rest = sampler_lines(run, kept, logits, beside, least)
    if logits + beside < forward:
        return [*b12x_lines(run), up_to(passing, sampler.high_bytes + rest.high_bytes)]
    return [*b12x_lines(run), sampler, up_to(rest, passing.high_bytes - sampler.high_bytes)]


def kept_bytes(run: ProfileRun, experts: int) -> ProfileKept:
    """Return what stays, and what attention needs for a while."""
    model, asked, rules = run.model, run.asked, run.rules
    workspace, scratch, images = experts if rules.shares_expert_workspace else 0, 0, 0
    if is_sparse(model):
        from . import sparse  # most models have none

        workspace = max(workspace, sparse.shared_bytes(model, asked, run.hardware, rules))
        workspace -= sparse.loaded_bytes(model, asked, rules)
        scratch = sparse.scratch_bytes(asked, rules) if model.kinds.has(DSA) else 0
    for mla in run.stage.kinds(model).latents:
        scratch = max(scratch, expanded_context_bytes(mla, asked, rules, run.width))
    if model.vision is not None and run.sees_images:
        from .profile_images import vision_bytes  # most models see nothing

        images = vision_bytes(model, asked, run.stage, rules, run.width)
    return ProfileKept(workspace, images, scratch)


def forward_bytes(run: ProfileRun, kept: ProfileKept, experts: int) -> int:
    """Return the peak of the forward pass beside what stays: of the widest feed-forward, or of attention."""
    model, rules, copies = run.model, run.rules, run.copies
    extra = run.cublas + int(run.constant("forward_extra").value) + summed_parts(run)
    inner, gates = widest_inner(model, run.asked.layout)
    row_bytes = run.width * (gates * inner + copies * run.hidden)
    if quantises_inputs(model, run.asked, run.hardware):
        row_bytes += inner  # the last projection's input in 8 bits, beside itself and what it was made of
    forward = int(run.tokens * row_bytes) + extra + unpacked_bytes(run)
    if rules.v0:
        # nothing is compiled and nothing outlives its layer, so a dense layer and the experts take turns
        shared = any(isinstance(ffn, MoE) and ffn.shared_width for ffn in model.kinds.ffns)
        beside = int(run.tokens * run.width * (copies + int(shared)) * model.hidden_size) + extra
        forward = max(forward, beside + experts if experts else 0)
        if run.asked.cpu_offload_gb:
            forward += largest_layer(model, run.asked, run.hardware, run.stage)
    else:
        forward += routed_copies(run) + (0 if rules.shares_expert_workspace else experts)
    for mla in run.stage.kinds(model).latents if rules.v0 and rules.profiles_mla_projection else ():
        attention = v0_attention_bytes(mla, model.hidden_size, run.asked, run.stage, run.width)
        forward = max(forward, attention + run.cublas)
    forward = max(forward, compressed_bytes(run))
    if model.drafter is not None:
        from .profile_draft import with_draft  # few models have another one beside them

        forward = with_draft(run, forward)
    if kept.scratch:  # attention runs before the feed-forward, beside the hidden states alone
        states = int(run.tokens * run.width * copies * run.hidden)
        forward = max(forward, states + kept.scratch + run.cublas)
    return forward


def compressed_bytes(run: ProfileRun) -> int:
    """Return the peak of the widest layer of V4's attention; 0 where there is none."""
    kinds = run.stage.kinds(run.model)
    if not kinds.has(V4, V41):
        return 0
    from .profile_v4 import widest_bytes  # two families

    return widest_bytes(run.model, kinds, run.asked, run.hardware, run.rules, run.width) + run.cublas


def linear_end(run: ProfileRun, kept: ProfileKept, experts: int) -> int:
    """Return the most that a layer of linear attention may take with what stays."""
    hidden = run.model.hidden_size
    linear = max(linear_bytes(each, run.asked, hidden, run.width) for each in run.model.kinds.attentions)
    linear += 0 if run.rules.shares_expert_workspace else experts
    return linear + kept.num_bytes if linear and not run.rules.v0 else 0


def logits_bytes(run: ProfileRun) -> int:
    """Return what sampling keeps of the rows' logits; only the last stage samples."""
    if not run.stage.last:
        return 0
    vocab, rows = run.model.num_logits, run.rows
    logits = int(rows * vocab * (run.per_logit.value + run.rejection.value))
    if run.rules.keeps_topp_rows and run.runner == "first_runner":
        multiprocessors = min(run.hardware.card.num_sms or HOPPER_SMS, rows)
        logits += int(multiprocessors * vocab * run.constant("topp_buffer").value)
    return logits


def warm_up_lines(run: ProfileRun, profiled: int) -> list[Line]:
    """Return what the second runner's warm-up samples beside the pool, where `profiled` bytes are free.

    Its requests ask for all that a sampler can do, those of the profile run only from 0.33 on: Qwen3.6-27B on
    H100, 6 B a logit profiled, ran out with 1,024 of them (vllm#48601; v1/worker/gpu/warmup.py). A draft is
    verified all at once before 0.27 (vllm#48037). A small pool of states takes fewer requests.
    """
    queries = 1 + run.asked.draft_tokens
    rows = min(run.asked.max_num_seqs or 0, run.tokens // (queries + 1))
    row = run.constant("warm_up_bytes_per_logit")
    verified = queries * VERIFIED_BYTES if run.rules.verifies_at_once else 0
    if run.per_logit.value >= max(row.value, verified):
        return []
    low, value, high = (
        max(int(rows * run.model.num_logits * max(each, verified)) - profiled, 0)
        for each in (row.low, row.value, row.high)
    )
    formula = f"{rows} rows x {run.model.num_logits} x {max(row.value, verified):g} B - {profiled:,} B"
    ends = value, 0 if run.model.kinds.has(Linear) else low, high
    what = "sampling of the warm-up"
    return [ranged("temporaries.running", "engine", what, ends, "assumed", formula, row.source)]


VERIFIED_BYTES = 6
"""Of a logit while a draft is verified: 16 bit, and its copy in F32."""


def sampling_bytes(run: ProfileRun) -> int:
    """Return what lives beside the logits: hidden states of the batch and of the rows, cuBLAS's workspace."""
    return (run.tokens + 2 * run.rows) * run.model.hidden_size * run.width + run.cublas


def sampler_lines(
    run: ProfileRun, kept: ProfileKept, logits: int, beside: int, least: int
) -> tuple[Line, Line]:
    """The lines of a run whose peak is sampling. `least`: what the forward pass leaves of its own peak."""
    per_logit, rejection, spread = run.per_logit, run.rejection, run.constant("activation_spread")
    source = source_of(per_logit)
    vocab = run.model.num_logits
    drafted = f" + {rejection.value:g} B for drafts" if rejection.value else ""
    formula = f"{run.rows} rows x {vocab} x {per_logit.value:g} B{drafted}"
    sampler = fitted_line("logits.sampler", logits, run.sampler_spread, formula, source)
    more = rejection.high - rejection.value
    if run.asked.enable_lora:
        more += run.upper_end("lora_bytes_per_logit")
    sampler = up_to(sampler, sampler.high_bytes + int(run.rows * vocab * more))
    lowest = max(int(run.rows * vocab * (per_logit.low + rejection.low)), least)
    sampler = sampler._replace(low_bytes=min(sampler.low_bytes, lowest))
    what = "hidden states, cuBLAS workspace"
    what += ", workspace of experts or sparse attention" if kept.workspace > 0 else ""
    what += f", {kept.images:,} B of images and their tokens" if kept.images else ""
    formula = f"{what}: {run.tokens} tokens x {run.model.hidden_size}"
    return sampler, fitted_line("activations.profile_run", beside + kept.num_bytes, spread, formula, source)


def forward_line(run: ProfileRun, kept: ProfileKept, forward: int, most: int) -> Line:
    """The line of a run whose peak is the forward pass."""
    inner, gates = widest_inner(run.model, run.asked.layout)
    row = f"({gates} x {inner} + {run.copies:g} x {run.hidden})"
    formula = f"{run.tokens} tokens x {run.width} B x {row}, workspaces"
    if forward == compressed_bytes(run):
        formula = f"{run.tokens} tokens: what a layer's attention holds at once, workspaces"
    source, spread = source_of(run.per_logit), run.constant("activation_spread")
    line = fitted_line("activations.profile_run", forward + kept.num_bytes, spread, formula, source)
    drafted = 0
    if run.asked.speculative and not run.rules.v0:
        drafted = int(run.upper_end("draft_hidden_copies") * run.tokens * run.model.hidden_size * run.width)
    return up_to(line, max(most, line.high_bytes + drafted))


def source_of(per_logit: Constant) -> str:
    return f"engines/vllm/profile.py profile_lines; {per_logit.source}"
