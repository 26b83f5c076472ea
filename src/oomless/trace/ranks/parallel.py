"""How ranks divide a model of transformers: tensor parallelism by torch's DTensor, stacked experts by rows or
by expert, FSDP2 or DDP.

The same functions serve a rank that does not exist (on the meta device) and real ranks on a CPU, which tests
compare.
"""

import re
from typing import Any

from ...errors import UnsupportedError, need
from ...run.training import Mesh, TrainingResolved, recipe

COLUMNS = re.compile(
    r"\.(q_proj|k_proj|v_proj|qkv_proj|q_b_proj|kv_b_proj|gate_proj|up_proj|gate_up_proj|fc1|w1|w3|c_fc|query_key_value|dense_h_to_4h)$"
)
ROWS = re.compile(r"\.(o_proj|out_proj|down_proj|fc2|w2|dense_4h_to_h|dense)$")
HEADS = ("lm_head", "embed_out")
FUSED = ("qkv_proj", "query_key_value", "gate_up_proj")


def decoder(model: Any) -> tuple[Any, Any]:
    """(the module that holds the layers, its ModuleList) of a decoder."""
    torch = need("torch", "trace")
    for module in model.modules():
        for name in ("layers", "h", "blocks"):
            layers = getattr(module, name, None)
            if isinstance(layers, torch.nn.ModuleList) and len(layers):
                return module, layers
    raise UnsupportedError(
        "the model has no list of layers", "trace one rank, without --tp, --pp, --ep and --fsdp"
    )


def heads_divide(model: Any, size: int) -> None:
    """Heads are dealt whole."""
    config: Any = getattr(model, "config", None)
    text = config.get_text_config() if hasattr(config, "get_text_config") else config
    for name in ("num_attention_heads", "num_key_value_heads", "intermediate_size", "moe_intermediate_size"):
        value = getattr(text, name, None)
        if isinstance(value, int) and value % size:
            raise UnsupportedError(
                f"--tp {size} does not divide {name} {value}", "choose a size that divides it"
            )


def tensor_parallel(model: Any, axis: Any) -> None:
    """Columns of what opens attention and feed-forward, rows of what closes them, the head by vocabulary with
    whole logits."""
    torch = need("torch", "trace")
    style = need("torch.distributed.tensor.parallel", "trace")
    placement = need("torch.distributed.tensor", "trace")
    heads_divide(model, axis.size())
    plan: dict[str, Any] = {}
    for name, module in model.named_modules():
        if not isinstance(module, torch.nn.Linear):
            continue
        if name.rpartition(".")[2] in FUSED:
            raise UnsupportedError(
                f"--tp: {name} is one matrix of several", "trace one rank of this family without --tp"
            )
        if COLUMNS.search(name):
            plan[name] = style.ColwiseParallel()
        elif ROWS.search(name):
            plan[name] = style.RowwiseParallel()
        elif name in HEADS:
            plan[name] = style.ColwiseParallel(output_layouts=placement.Replicate())
    if not plan:
        raise UnsupportedError(
            "--tp: no matrix of this model is known to be cut", "trace one rank without --tp"
        )
    style.parallelize_module(model, axis, plan)
    for module in experts_of(model):
        _cut_experts(module, axis)


def experts_of(model: Any) -> list[Any]:
    """Modules whose parameters are stacks of experts."""
    return [
        module for module in model.modules() if getattr(getattr(module, "gate_up_proj", None), "ndim", 0) == 3
    ]


def _local(tensor: Any, dim: int, axis: Any) -> Any:
    """The share of a parameter that lies on this rank."""
    torch = need("torch", "trace")
    share = tensor.detach().chunk(axis.size(), dim)[axis.get_local_rank()].clone()
    return torch.nn.Parameter(share, requires_grad=tensor.requires_grad)


def _cut_experts(module: Any, axis: Any) -> None:
    """Each expert's width is divided; what they add up to is summed over the ranks."""
    transposed = bool(getattr(module, "is_transposed", False))
    wide = module.down_proj.shape[2] if not transposed else module.down_proj.shape[1]
    if wide % axis.size():
        raise UnsupportedError(
            f"--tp {axis.size()} does not divide the experts' width {wide}", "choose a size that divides it"
        )
    module.gate_up_proj = _local(module.gate_up_proj, 2 if transposed else 1, axis)
    module.down_proj = _local(module.down_proj, 1 if transposed else 2, axis)
    if getattr(module, "gate_up_proj_bias", None) is not None:
        module.gate_up_proj_bias = _local(module.gate_up_proj_bias, 1, axis)
    collectives = need("torch.distributed.nn.functional", "trace")
    group = axis.get_group()
    module.register_forward_hook(lambda _module, _args, output: collectives.all_reduce(output, group=group))


def expert_parallel(model: Any, group: Any, size: int, rank: int) -> None:
    """Whole experts are dealt to ranks, and tokens travel to them and back, as many to every rank: routing is
    even."""
    torch = need("torch", "trace")
    found = experts_of(model)
    if not found:
        raise UnsupportedError("--ep: the model has no stacked experts", "leave --ep out")
    for module in found:
        num = module.gate_up_proj.shape[0]
        if num % size:
            raise UnsupportedError(
                f"--ep {size} does not divide {num} experts", "choose a size that divides them"
            )
        for name, parameter in list(module.named_parameters(recurse=False)):
            share = parameter.detach().chunk(size, 0)[rank].clone()
            setattr(module, name, torch.nn.Parameter(share, requires_grad=parameter.requires_grad))
        module.oomless_dealt = True
        _travel(module, group, size, num)


def _travel(module: Any, group: Any, size: int, num: int) -> None:
    """The experts' forward on rows that came from all ranks: sorted by expert, sent, computed here, sent
    back, added up."""
    torch = need("torch", "trace")
    collectives = need("torch.distributed.nn.functional", "trace")
    here = num // size
    compute = module.forward

    def exchange(rows: Any) -> Any:
        received = torch.empty_like(rows)
        return collectives.all_to_all_single(received, rows.contiguous(), group=group)

    def forward(hidden: Any, chosen: Any, weights: Any) -> Any:
        picks = chosen.shape[1]
        order = torch.argsort(chosen.reshape(-1))
        rows = hidden[order // picks]
        pad = -rows.shape[0] % size
        if pad:
            rows = torch.nn.functional.pad(rows, (0, 0, 0, pad))
        arrived = exchange(rows)
        local = torch.arange(arrived.shape[0], device=arrived.device).remainder(here).unsqueeze(-1)
        ones = torch.ones_like(local, dtype=weights.dtype)
        module.num_experts = here
        result = compute(arrived, local, ones)
        back = exchange(result)[: order.shape[0]]
        added = torch.zeros_like(hidden)
        scaled = back * weights.reshape(-1)[order].unsqueeze(-1)
        return added.index_add(0, order // picks, scaled.to(hidden.dtype))

    module.forward = forward


def fully_shard(model: Any, axis: Any, outer: Any, asked: TrainingResolved) -> None:
    """FSDP2: a unit a layer, and what is left in the root's. Experts that were dealt to ranks are cut over
    those that hold the same."""
    torch = need("torch", "trace")
    fsdp = need("torch.distributed.fsdp", "trace")
    form = recipe(asked.precision)
    half = {"mixed-bf16": torch.bfloat16, "mixed-fp16": torch.float16}.get(form.name)
    policy = fsdp.MixedPrecisionPolicy(half, torch.float32) if half else fsdp.MixedPrecisionPolicy()
    again = not asked.keep_gathered
    kinds = {parameter.dtype for parameter in model.parameters()}
    if len(kinds) > 1:  # FSDP2 takes one type a unit; routers keep small tensors in F32
        model.to(next(iter(kinds - {torch.float32})))
    dealt = [module for module in model.modules() if is_dealt(module)]
    whole = (
        {parameter for module in dealt for parameter in module.parameters()} if outer.size() == 1 else set()
    )
    if outer.size() > 1:
        for module in dealt:
            fsdp.fully_shard(module, mesh=outer, mp_policy=policy, reshard_after_forward=again)
    for layer in decoder(model)[1]:
        fsdp.fully_shard(
            layer, mesh=axis, mp_policy=policy, ignored_params=whole, reshard_after_forward=again
        )
    fsdp.fully_shard(model, mesh=axis, mp_policy=policy, ignored_params=whole)


def replicated(model: Any) -> tuple[Any, list[str]]:
    """(trained parameters that every data-parallel rank has, names of those that were dealt to ranks)."""
    dealt = {
        f"{name}.{part}"
        for name, module in model.named_modules()
        if is_dealt(module)
        for part, _ in module.named_parameters()
    }
    shared = [
        parameter
        for name, parameter in model.named_parameters()
        if name not in dealt and parameter.requires_grad
    ]
    return shared, sorted(dealt)


def distributed_data_parallel(model: Any, axis: Any, asked: TrainingResolved) -> Any:
    """Real copies of a model whose gradients meet in buckets of 25 MiB."""
    wrapper = need("torch.nn.parallel", "trace").DistributedDataParallel
    wrapper._set_params_and_buffers_to_ignore_for_model(model, replicated(model)[1])
    return wrapper(
        model,
        process_group=axis.get_group(),
        gradient_as_bucket_view=asked.gradient_bucket_view,
        init_sync=False,
    )


FIRST_BUCKET, BUCKET = 1 << 20, 25 << 20
"""Bytes of DDP's buckets: torch/csrc/distributed/c10d/reducer.hpp and nn/parallel/distributed.py
(bucket_cap_mb)."""


def gradient_buckets(model: Any, asked: TrainingResolved, outer: int) -> list[Any]:
    """DDP as memory sees it, since its reducer looks into tensors, which here have no data: buckets that
    stay, last layers first.

    A gradient is made, copied into its bucket and, if gradients are views of buckets, freed. `outer`: ranks
    that hold the same experts.
    """
    torch = need("torch", "trace")
    groups: list[list[Any]] = [[]]
    size = 0
    shared = (
        replicated(model)[0] if outer == 1 else [each for each in model.parameters() if each.requires_grad]
    )
    for parameter in reversed(shared):
        num_bytes = parameter.numel() * parameter.element_size()
        limit = FIRST_BUCKET if len(groups) == 1 else BUCKET
        if groups[-1] and (size >= limit or groups[-1][-1].dtype is not parameter.dtype):
            groups.append([])
            size = 0
        groups[-1].append(parameter)
        size += num_bytes
    buckets = []
    for group in groups:
        bucket = torch.zeros(sum(parameter.numel() for parameter in group), dtype=group[0].dtype)
        buckets.append(bucket)
        start = 0
        for parameter in group:
            view = bucket[start : start + parameter.numel()].view(parameter.shape)
            start += parameter.numel()
            parameter.register_post_accumulate_grad_hook(_into(view, asked.gradient_bucket_view))
    return buckets


def _into(view: Any, stays: bool) -> Any:
    def arrived(parameter: Any) -> None:
        if parameter.grad._base is not view._base:
            view.copy_(parameter.grad)
            if stays:
                parameter.grad = view

    return arrived


def is_dealt(module: Any) -> bool:
    """Whether a module's experts were dealt to ranks."""
    return bool(getattr(module, "oomless_dealt", False))


def keep_stage(model: Any, mesh: Mesh, stage: int) -> None:
    """Keep the layers of one pipeline stage, the embedding on the first, the last norm and the head on the
    last."""
    torch = need("torch", "trace")
    base, layers = decoder(model)
    count = len(layers)
    if mesh.pp > count:
        raise UnsupportedError(f"--pp {mesh.pp} is more than {count} layers", "choose fewer stages")
    sizes = [count // mesh.pp + (rank < count % mesh.pp) for rank in range(mesh.pp)]
    start = sum(sizes[:stage])
    name = next(key for key, value in base.named_children() if value is layers)
    setattr(base, name, torch.nn.ModuleList(layers[start : start + sizes[stage]]))
    config = base.config
    for key in ("layer_types", "mlp_layer_types"):
        if isinstance(getattr(config, key, None), list):
            setattr(config, key, getattr(config, key)[start : start + sizes[stage]])
    config.num_hidden_layers = sizes[stage]
    if stage:
        for key in ("embed_tokens", "wte"):
            if hasattr(base, key):
                setattr(base, key, torch.nn.Identity())
    if stage < mesh.pp - 1:
        for key in ("norm", "ln_f", "final_layernorm"):
            if hasattr(base, key):
                setattr(base, key, torch.nn.Identity())
        for key in HEADS:
            if hasattr(model, key):
                setattr(model, key, torch.nn.Identity())
