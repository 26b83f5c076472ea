"""llama.cpp and ik_llama.cpp: tensors as the GGUF file stores them, layers dealt out over the cards, a cache
of fixed size.

Nothing is allotted in advance: the cache is as long as the context asked for, and the compute buffer is what
the graph of one micro-batch needs, found by building that graph and serving it as ggml does.
"""

from functools import partial

from ..layouts import layers_over_cards, one_machine
from ..record import Candidates, CardMakers, Engine, EngineRows, Start, Tunable, derived
from .budget import budget_bytes, budget_lines
from .cache import cache_layout, longest_sequence, max_tokens, needed_bytes, sequences
from .defaults import MOST_DEVICES, resolve, stages
from .fit import fit
from .gguf_file import stored
from .ollama_command import USUAL
from .placement import num_named
from .release import VERSIONS, rules_of
from .weights import host_bytes, left_to_host, placed_weights

MOST_LAYERS = 256
"""More than any model has."""

LLAMACPP = Engine(
    name="llamacpp",
    label="llama.cpp",
    versions=VERSIONS,
    cards=CardMakers(tried=("NVIDIA", "AMD", "Apple", "Raspberry Pi", "generic", "")),
    candidates=Candidates(
        one_machine,
        forms=("q8_0", "q4_k_m"),
        most_sequences=16,
        shares_card=True,
        ranked_last=True,
        sets_slots=True,
        tuned=(Tunable("ubatch_size", (128, 256, 1024, 2048), "pace"),),
        offloads=(
            Tunable("n_cpu_moe", tuple(range(1, MOST_LAYERS)), "room"),
            Tunable("n_gpu_layers", tuple(range(MOST_LAYERS, -1, -1)), "room"),
        ),
        narrow_cache=(("cache_type_k", "q8_0"), ("cache_type_v", "q8_0")),
    ),
    start=Start(port=8080),
    rows=EngineRows(words=("llama.cpp", "llama.cpp MLA branch", "llama.cpp (python)", "llama-box")),
    speed_class="llamacpp",
    layouts=partial(layers_over_cards, most=MOST_DEVICES),
    most_devices=MOST_DEVICES,
    resolve=resolve,
    stages=stages,
    placed_weights=placed_weights,
    budget_bytes=budget_bytes,
    budget_lines=budget_lines,
    cache_layout=cache_layout,
    needed_bytes=needed_bytes,
    max_tokens=max_tokens,
    sequences=sequences,
    longest_sequence=longest_sequence,
    host_bytes=host_bytes,
    counts="plain",
    axis="pp",
    file_types=True,
    fills_host=True,
    host_memory_at="last rank",
    buffers_follow_context=True,
    cache_of_load=True,
    cuts_at_model_positions=True,
    in_file=stored,
    fit=fit,
    weighs_drafts=lambda asked: rules_of(asked).fits_drafts,
    left_to_host=left_to_host,
    cache_field="cache_type_k",
    spreads=lambda given: given.get("split_mode") != "none",
    num_named=num_named,
    log="llamacpp.log",
)
OLLAMA = derived(LLAMACPP, "ollama")._replace(
    candidates=LLAMACPP.candidates._replace(offloads=LLAMACPP.candidates.offloads[1:]),  # experts go unasked
    start=Start(by="modelfile", port=11434),
    tag_type=USUAL,
    weighs_pictures=lambda asked: rules_of(asked).reserves_picture,
    spreads=lambda given: False,  # one card where one holds it (server/sched.go, SchedSpread)
    log="llamacpp.ollama_log",
)
