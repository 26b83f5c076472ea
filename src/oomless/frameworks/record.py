"""One record a framework: what it uses where it is not told, how it goes about a step, and what measured rows
of it mean."""

from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple

from .. import facts
from ..run.training import Sharding, TrainingAsked
from .entries import Entries
from .plan_space import PlanSpace
from .releases import Habits, habits


class FrameworkRows(NamedTuple):
    """What a measured row of a framework means where its words leave it open
    (facts/measured_frameworks.csv)."""

    words: tuple[str, ...]
    """Names under which tables have the framework."""
    fsdp: Sharding
    """The kind of FSDP that a row means which says no more."""
    bf16_amp: str
    """The recipe that AMP in bfloat16 means."""
    amp: str
    """The recipe that AMP means."""
    bf16: str
    """The recipe that bf16 means."""
    half_loss: str
    """The loss of a GPTQ model; "": that of any other."""
    kernels: str | None
    """Kernels of a row that names none; None: the framework's."""
    compiles_loss: bool
    """Its plain loss is compiled with the model."""
    nf4: str
    """The storage that NF4 means: with scales that are quantised again, or without."""
    packs_experts: bool
    lora_rank: int
    """Rank of LoRA where a row gives none."""
    grad_accum: int
    """Micro-batches of a step where a row gives none."""
    packed: Mapping[str, str]
    """Flags of `train` under which its rows run models that GPTQ has packed."""
    logged_rank: Literal["last", "fullest"]
    """The pipeline rank whose memory its log shows."""


LaunchFiles = Literal[
    "fsdp_script",
    "titan_toml",
    "megatron_args",
    "zero_script",
    "accelerate_script",
    "axolotl_yaml",
    "factory_yaml",
    "trl_yaml",
]
"""What starts a framework. Scripts: of FSDP2 under torchrun; of the Trainer, under torchrun with ZeRO's file
or under accelerate with its. Else the framework's own configuration file."""


Gathers = Literal["no", "merged", "gathered"]
"""When ZeRO-3's ranks have the whole policy between updates: while the trainer generates, and while an engine
is given merged adapters (merged) or any weights (gathered)."""


class Framework(NamedTuple):
    """A program that trains. Defaults are those of facts/frameworks.csv."""

    name: str
    methods: tuple[str, ...]
    """Methods that it runs."""
    precision: str
    precision_lora: str
    """Recipe of adapters; "": that of full training."""
    precision_qlora: str
    """Recipe of adapters beside packed weights; "": that of other adapters."""
    precision_fsdp: str
    """Recipe of full training under FSDP, which upcasts what is trained (accelerate); "": no other."""
    half_by_card: bool
    """Where no type is named, float16 stands for bfloat16 on cards without it: by itself (Unsloth: dtype
    None), or set by its users (fp16=True of transformers' Trainer, which refuses bf16 there)."""
    single_by_card: bool
    """Where no type is named, float32 stands for it there (llama-recipes, get_policies)."""
    optimizer: str
    sharding: Sharding
    shardings: tuple[str, ...]
    """The ways of sharding that it has, where these are its own; (): those of torch and DeepSpeed."""
    zero_is_deepspeed: bool
    """Its ZeRO is DeepSpeed's engine, which has types and buffers of its own."""
    zero_by_hidden_size: bool
    """The buckets of its ZeRO-3 are "auto": they follow the hidden size."""
    zero_leaves: bool
    """It has ZeRO-3 gather all experts of a layer at once (set_z3_leaf_modules)."""
    recompute: str
    selective: tuple[str, ...]
    """Modules that its selective recomputation runs again."""
    attention: str
    loss: str
    kernels: str
    lora_targets: tuple[str, ...]
    adapter_dtype: str
    adapter_dtype_qlora: str
    """That of adapters on weights of bitsandbytes, without FSDP, which trains in F32; "": the same."""
    adapter_dropout: bool
    """Adapters have dropout, which keeps a copy of their input."""
    one_projection: bool
    """Queries, keys and values are views of one tensor, with one adapter."""
    inputs_a_layer: int
    """Inputs that full recomputation keeps of a layer: 4 where norms, attention and feed-forward are wrapped
    by themselves."""
    reentrant: bool
    """It asks for reentrant checkpoints, whatever the default of transformers is."""
    inputs_on_host: bool
    """Full recomputation keeps the inputs of layers in host memory."""
    expands_segments: bool
    """It sets PYTORCH_CUDA_ALLOC_CONF to expandable segments when it is imported."""
    counts_ends: bool
    """Embedding and head count as a layer each when layers are dealt to pipeline stages."""
    wide_embedding_moments: bool
    """Moments of the embedding stay in F32 under optimizers of bitsandbytes."""
    runs_transformers: bool
    """Its layers are transformers' own modules; else it has modules or kernels of its own."""
    fuses_adapters: Literal["apart", "always", "supervised"]
    """A matrix and its adapter are one function that adds the update in place and keeps the input alone; so
    is a whole gated feed-forward (Unsloth, kernels/fast_lora.py: LoRA_MLP, LoRA_QKV, LoRA_W; Axolotl,
    kernels/lora.py). supervised: adapter_products.py says where."""
    accumulation: str
    """Under FSDP gradients of all but the last micro-batch are `scattered`, or stay whole on each rank:
    `deferred` (no_sync: accelerate's accumulate and transformers' Trainer; Fabric's no_backward_sync), or
    under FSDP2 `whole`, in F32 and every release (Automodel, distributed/utils.py, get_sync_ctx)."""
    adapters: Literal["peft", "own", "in_unit", "grouped"]
    """Whose adapters they are, and where these lie."""
    ties: bool
    """A model whose embedding and head are one tensor keeps them so."""
    frozen_cache: bool
    """Frozen models fill a cache of keys and values as they run forward."""
    packages: tuple[str, ...]
    """Packages whose earlier releases did otherwise (facts/habits.csv)."""
    seq_len: int
    """Tokens of a sample where nobody says; 0: no length of its own."""
    torch_pipelines: bool
    """Its pipelines are torch.distributed.pipelining's."""
    starts_pipelines: bool
    """It runs pipelines without a script of one's own."""
    ulysses: bool
    """Its sequence parallelism exchanges heads for tokens; else keys and values are passed on."""
    torch_context: bool
    """Under FSDP2 its context parallelism is torch's, which gathers the keys and values of all ranks."""
    cuts_modules_apart: bool
    """Tensor parallelism cuts each module for itself (transformers' tp_plan): q, k and v each sum their
    gradient of the same input."""
    cuts_sequences: bool
    """Its tensor parallelism always cuts along the sequence what it would repeat."""
    loss_on_shares: bool
    """Under tensor parallelism its loss works on a rank's share of the vocabulary."""
    ends_apart: bool
    """Under FSDP2 embedding and head are units of their own, which come and go as layers do."""
    fuses_norms: bool
    """RMS norms are torch's own kernel, which keeps its input (nn.RMSNorm since torch 2.9)."""
    kbit_by_script: bool
    """Preparing a model in 4 or 8 bit is left to the user's script."""
    split_experts: tuple[str, ...]
    """Families whose stacked experts it makes a module of each matrix of, where it packs them in 4 bits
    (Unsloth, temporary_patches/gpt_oss.py: GptOssExpertsBnb4bit); adapters stay off them."""
    launch: LaunchFiles | None
    """The files that start it, as far as they are written here."""
    expert_parallel: str
    """What FSDP has of the weights that expert parallelism divides: `divided` further, or left `whole`; with
    `copies`, FSDP has all others divided over the same ranks only."""
    megatron_core: bool
    """It runs Megatron-Core's layers, optimizer and schedules."""
    value_model: str
    """PPO's value model: `head`, on the policy, which takes next to nothing, or `full`, trained in full where
    the policy has adapters in 16 bit; empty: a model of its own, like the policy."""
    freezes_tower: bool
    """Full training leaves a vision tower frozen unless somebody says otherwise (LLaMA-Factory:
    freeze_vision_tower; ms-swift: freeze_vit; Automodel's recipes: freeze_config)."""
    rollouts: tuple[str, ...]
    """What is said of generating and comparing: `reference`, `merged` or `gathered`, `selective`, `lends`,
    `sleeps`, `parks`, `swaps`."""
    rows: FrameworkRows
    title: str = ""
    """Its name as its authors write it."""
    marks: tuple[str, ...] = ()
    """Entries by which its configuration file is known: one is enough."""
    reads: Callable[[Entries], tuple[str | None, TrainingAsked, int | None]] | None = None
    """A configuration file's entries -> model, question, ranks; None: no file of it is read."""
    refuses: Callable[[Mapping[str, Any]], str | None] | None = None
    """A file's entries -> why they are a file of it whose rules are not known; None: they are not."""
    modules: tuple[str, ...] = ("core_attn", "layernorm", "norm", "mlp", "moe", "mla_up_proj", "layer", "ops")
    """Parts of a layer that its selective recomputation may name: those that the graphs run again."""
    plan: PlanSpace = PlanSpace()
    """What a plan may try."""
    setup: tuple[tuple[str, ...], ...] = ()
    """Commands that make a rented machine ready for its launch files, as words."""
    log: str = ""
    """The module that says how its log reads (its LOG) and what question it puts (its asks), loaded where one
    is read; "": its logs put none."""

    def habits(self, version: str | None) -> Habits:
        """Return what the releases in a text did otherwise than the newest ones."""
        return habits(self.name, self.packages, version)

    def value_on_policy(self, version: str | None) -> bool:
        """Whether PPO's value model is a head on the policy in the named releases."""
        return self.value_model == "head" or self.habits(version).value_is_head

    @property
    def grpo_reference(self) -> bool:
        """Whether GRPO compares with a frozen reference where nothing is said."""
        return "reference" in self.rollouts

    @property
    def loads_reference(self) -> bool:
        """Whether the reference of a model with adapters is a model of its own (OpenRLHF's train_dpo.py and
        ReferenceModelActor; DeepSpeed-Chat's _init_ref; coati's own), not the policy without them."""
        return "own_reference" in self.rollouts

    @property
    def gathers(self) -> Gathers:
        """How an engine of its own is given the policy's weights."""
        return "merged" if "merged" in self.rollouts else "gathered" if "gathered" in self.rollouts else "no"

    @property
    def engine_lends(self) -> bool:
        """Whether its engine runs in the trainer's process and lends it the frozen weights (Unsloth's
        fast_inference: unsloth_zoo/vllm_utils.py, get_vllm_state_dict)."""
        return "lends" in self.rollouts

    @property
    def engine_sleeps(self) -> bool:
        """Whether an engine on its cards gives up weights and cache while it trains, unless somebody says
        otherwise."""
        return "sleeps" in self.rollouts

    @property
    def parks(self) -> tuple[str, ...]:
        """What of the policy lies in host memory while such an engine answers."""
        return ("optimizer", "params", "gradients") if "parks" in self.rollouts else ()

    @property
    def swaps_reference(self) -> bool:
        """Whether the reference's weights lie in host memory, and take the policy's place before its update
        (NeMo-RL: use_reference_model)."""
        return "swaps" in self.rollouts

    @property
    def selects_log_probs(self) -> bool:
        """Whether its trainers have TRL's selective_log_softmax: accelerate makes its logits F32, but not
        beside DeepSpeed (accelerator.py: native_amp)."""
        return "selective" in self.rollouts

    @property
    def answers_alone(self) -> bool:
        """Whether GRPO has no logits of prompts (TRL since 0.14, ms-swift: logits_to_keep; Unsloth cuts what
        the layers give: unsloth_zoo/rl_replacements.py)."""
        return self.selects_log_probs or "answers" in self.rollouts

    @property
    def peft(self) -> bool:
        """Whether adapters are PEFT's."""
        return self.adapters == "peft"

    @property
    def adapters_in_unit(self) -> bool:
        """Whether FSDP1 has adapters in the unit of their layer: one flat parameter, whose frozen values have
        gradients, too (torch warns of it: _validate_frozen_params; two ranks on a CPU had them)."""
        return self.adapters == "in_unit"

    @property
    def whole_experts(self) -> bool:
        """Whether experts that expert parallelism alone divides are in no unit of FSDP2, whose units then
        keep weights after the forward, and whether checkpoints wrap whole layers (Automodel's
        moe/parallelizer.py, ignored_params, reshard_after_forward, apply_ac)."""
        return self.expert_parallel == "whole"

    @property
    def copies_outside_experts(self) -> bool:
        """Whether the ranks of expert parallelism hold copies of all other weights, which FSDP divides over
        what is left of the ranks (transformers 5, pull request 48516, DistributedConfig(tp_size, fsdp_size,
        enable_expert_parallel)). Some models' base_model_ep_plan divides attention too, which is left out."""
        return self.expert_parallel == "copies"

    @property
    def groups_adapters(self) -> bool:
        """Whether adapters follow Megatron-Core's own products: one beside each expert of a grouped one, one
        input half for q, k and v, and for gate and up (ms-swift, mcore_bridge: LoraParallelLinear)."""
        return self.adapters == "grouped"


def of_facts(name: str) -> Framework:
    """Return the record of the tables; what a framework reads and a plan tries of it stand in its folder."""
    row = next(each for each in facts.table("frameworks") if each["framework"] == name)
    said: dict[str, Any] = {field: row[field] == "yes" for field in YES_OR_NO}
    return Framework(
        name=name,
        methods=_words(row["methods"]),
        precision=row["precision"],
        precision_lora=row["precision_lora"],
        precision_qlora=row["precision_qlora"],
        precision_fsdp=row["precision_fsdp"],
        half_by_card=row["half_by_card"] == "yes",
        single_by_card=row["half_by_card"] == "fp32",
        optimizer=row["optimizer"],
        sharding=row["sharding"],  # type: ignore[arg-type]  # a test holds cells and words together
        shardings=_words(row["shardings"]),
        zero_is_deepspeed=row["zero"] == "deepspeed",
        zero_by_hidden_size=row["zero_config"] == "auto",
        recompute=row["recompute"],
        selective=_words(row["selective"]),
        attention=row["attention"],
        loss=row["loss"],
        kernels=row["kernels"],
        lora_targets=_words(row["lora_targets"]),
        adapter_dtype=row["adapter_dtype"],
        adapter_dtype_qlora=row["adapter_dtype_qlora"],
        adapter_dropout=row["adapter_dropout"] == "yes",
        one_projection=row["projections"] == "one",
        inputs_a_layer=int(row["checkpoints"]),
        inputs_on_host=row["inputs"] == "host",
        expands_segments=row["segments"] == "expandable",
        counts_ends=row["pipeline_ends"] == "layers",
        wide_embedding_moments=row["embedding_moments"] == "float32",
        runs_transformers=row["modules"] == "transformers",
        fuses_adapters=row["adapter_products"],  # type: ignore[arg-type]  # a test holds cells and words together
        accumulation=row["accumulation"],
        adapters=row["adapters"],  # type: ignore[arg-type]  # a test holds cells and words together
        packages=_words(row["packages"]),
        seq_len=int(row["seq_len"] or 0),
        torch_pipelines=row["pipelines"] in ("torch", "script"),
        starts_pipelines=row["pipelines"] not in ("none", "script"),
        ulysses=row["context"] in ("ulysses", "accelerate"),
        torch_context=row["context"] in ("torch", "accelerate"),
        cuts_modules_apart=row["tp_modules"] == "apart",
        cuts_sequences=row["tp_modules"] == "along",
        ends_apart=row["ends"] == "apart",
        fuses_norms=row["norms"] == "fused",
        kbit_by_script=row["kbit_preparation"] == "script",
        split_experts=_words(row["split_experts"]),
        launch=row["launch"] or None,  # type: ignore[arg-type]  # a test holds cells and words together
        expert_parallel=row["expert_parallel"],
        value_model=row["value_model"],
        freezes_tower=row["tower"] == "frozen",
        rollouts=_words(row["rollouts"]),
        rows=measured_rows(name),
        **said,
    )


YES_OR_NO = ("zero_leaves", "reentrant", "ties", "frozen_cache", "loss_on_shares", "megatron_core")
"""Fields whose column has their name and is yes or no."""


def measured_rows(name: str) -> FrameworkRows:
    """Return what measured rows of a framework mean."""
    row = next(each for each in facts.table("measured_frameworks") if each["framework"] == name)
    return FrameworkRows(
        words=tuple(word for word in row["words"].split(";") if word),
        fsdp=row["fsdp"],  # type: ignore[arg-type]  # a test holds cells and words together
        bf16_amp=row["bf16_amp"],
        amp=row["amp"],
        bf16=row["bf16"],
        half_loss=row["half_loss"],
        kernels=row["kernels"] or None,
        compiles_loss=row["compiles_loss"] == "yes",
        nf4=row["nf4"],
        packs_experts=row["packs_experts"] == "yes",
        lora_rank=int(row["lora_rank"]),
        grad_accum=int(row["grad_accum"]),
        packed=dict(each.split("=") for each in row["packed"].split()),
        logged_rank=row["logged_rank"],  # type: ignore[arg-type]  # a test holds cells and words together
    )


def _words(cell: str) -> tuple[str, ...]:
    return tuple(cell.split())
