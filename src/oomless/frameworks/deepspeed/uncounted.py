"""Keys of DeepSpeed's JSON that change memory and are not counted: each is named in a note, unless it says
what DeepSpeed does anyway.

A key that nobody knows is named by the entries themselves; here are those that a value hides: a switch that
changes memory where it is off, and a value that is the default.
"""

from ..entries import Entries

USUAL: dict[str, object] = {
    "zero_optimization.offload_optimizer.ratio": 1,
    "zero_optimization.mics_shard_size": -1,
    "zero_optimization.stage3_param_persistence_threshold": 100_000,
    "zero_optimization.param_persistence_threshold": 100_000,
    "zero_optimization.stage3_module_granularity_threshold": 0,
    "zero_optimization.module_granularity_threshold": 0,
    "zero_optimization.use_multi_rank_bucket_allreduce": True,
    "zero_optimization.override_module_apply": True,
    "gradient_allreduce_op": "mean",
}
"""Values that are DeepSpeed's own (runtime/zero/config.py, offload_config.py)."""
OFF = {
    "zero_optimization.memory_efficient_linear": "a Linear keeps its gathered weight until its backward",
    "optimizer.params.fp32_optimizer_states": "moments of 16 bits on the host",
}
"""Switches that are on by themselves, and what is so where they are off (runtime/zero/linear.py;
ops/adam/cpu_adam.py)."""
ON = {
    "aio.use_gds": "the buffers of parameters on a disk lie on the card",
    "data_efficiency.data_routing.random_ltd.enabled": "its layers run on a part of the tokens",
    "data_efficiency.data_sampling.curriculum_learning.enabled": "the first steps have shorter sequences",
}
"""Switches inside of blocks whose other keys change nothing (swap_tensor/partitioned_param_swapper.py;
runtime/data_pipeline)."""


def note_uncounted(entries: Entries, prefix: str = "") -> None:
    """Note the switches that change memory and are not counted, and pass over what is DeepSpeed's default.

    >>> from pathlib import Path
    >>> entries = Entries(Path("ds.json"), "deepspeed", {"zero_optimization.memory_efficient_linear": False})
    >>> note_uncounted(entries)
    >>> entries.notes
    ['memory_efficient_linear = false: a Linear keeps its gathered weight until its backward; not counted']
    """
    for name, usual in USUAL.items():
        value = entries.values.get(prefix + name)
        if value == usual and isinstance(value, bool) == isinstance(usual, bool):
            entries.asked.add(prefix + name)
    for counted, reasons in ((True, OFF), (False, ON)):
        for name, why in reasons.items():
            if not entries.has(prefix + name):
                continue
            value = entries.switch(prefix + name, default=counted)
            if value != counted:
                word = name.removeprefix("zero_optimization.")
                entries.note(f"{word} = {str(value).lower()}: {why}; not counted")
