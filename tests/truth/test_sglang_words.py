"""The words of a measured row's flags that are SGLang's own."""

from oomless.engines.sglang import as_asked
from oomless.run.serving import Asked


def test_steps_pages_and_states_are_said() -> None:
    flags = "language-only, chunked-prefill-size 4096, page size 64, disable-cuda-graph, eagle"
    said = as_asked(Asked(), f"{flags}, num_speculative_tokens 5, mamba-scheduler-strategy no_buffer")
    assert (said.max_num_batched_tokens, said.block_size) == (4096, 64)
    assert said.language_model_only
    assert said.enforce_eager
    assert not said.disable_radix_cache
    assert said.mamba_scheduler_strategy == "no_buffer"
    assert said.speculation is not None
    assert said.speculation.tokens == 5
