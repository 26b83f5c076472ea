"""mlx-lm on Macs: weights as stored, a cache that grows as it is read, a server that keeps earlier prompts'.

No pool is made at start. Read in mlx-lm of 0.22.0 to 0.31.3, and mlx of their days; nothing of it was timed.
Evaluation is lazy: what a step of a prompt makes stays until the command buffer that reads it is done, of
which ten of 50 MB run at once (mlx/transforms.cpp, backend/metal/device.cpp). The allocator's own cache gives
way before memory is short (allocator.cpp). Logits are made of the last token alone.
"""

import re
from typing import Any

from .. import facts
from ..errors import UnsupportedError, UsageError
from ..ledger import Key, Line, ranged
from ..model.attention import DSA, GQA, MLA, Attention, Linear, Sliding
from ..model.feedforward import MoE
from ..model.mlx_forms import form_of
from ..model.model import Model, Tensor
from ..model.storage import BF16, DTYPES, Format
from ..run.cards import Hardware
from ..run.serving import Asked, Layout, Resolved
from ..units import GIB
from .command_words import CommandWords
from .defaults import default_length, resolve_dtype
from .layers_dealt import deal
from .layouts import one_card
from .parameters import key_of, unexplained
from .rank import Budget, CacheGroup, CacheLayout, Placed, Stage, rows_in_layers
from .record import Candidates, CardMakers, Engine, EngineRows, Start
from .recurrent_states import recurrent_state_bytes
from .releases import NO_FAMILY, Families, ReleaseRules, Releases
from .transformers.budget import attention_width
from .transformers.cache import longest_sequence, max_tokens, needed_bytes, one, sequences


class MlxRules(ReleaseRules):
    """What a release of mlx-lm does, with the mlx of its days."""

    steps_prompts: bool = False
    """A prompt is read in steps; before, whole."""
    prefill_step_size: int = 512
    caches_latents: Families = NO_FAMILY
    """Families whose cache holds latents; of others the keys and values of every head."""
    has_sparse_models: bool = False
    fuses_attention: bool = False
    """Attention of heads of 128 makes no scores; before, of 64 and 80 alone."""
    batches: bool = False
    """The server runs sequences together; before, one after the other."""
    keeps_prompts: bool = False
    """The server keeps caches of several prompts."""


RELEASES = Releases(
    "mlx",
    MlxRules,
    ("0.22.0", "0.24.1", "0.26.0", "0.28.3", "0.29.0", "0.30.5", "0.30.6", "0.31.0", "0.31.3"),
    first="0",
)
CACHE_TYPES = ("auto", "int2", "int3", "int4", "int6", "int8")
SEQUENCES, PROMPTS_AT_ONCE = 32, 8
"""Sequences that decode together, and whose prompts are read together (server.py)."""
ACTIVE_TASKS = 10
"""Command buffers that run at once (mlx/transforms.cpp, MAX_ACTIVE_TASKS)."""
FUSED, FUSED_ONCE = (64, 72, 80, 96, 128), (64, 80)
"""Widths of heads whose prompts make no scores (scaled_dot_product_attention.cpp; of 192 and 256 the other
way is faster), and those before mlx 0.24."""
STATES = ("gdn", "kda", "short_conv")
"""Linear attention whose prefill makes no matrix of all pairs of a step."""
AS_STORED = ("", "mlx-packed", "fp8", "compressed-tensors", "mxfp4", "awq", "gptq")
"""Forms of checkpoints that it reads, and packs anew without more bits (utils.py, load_model)."""


def resolve(model: Model, hardware: Hardware, asked: Asked, layout: Layout) -> Resolved:
    """Return the question with the defaults of mlx_lm.server."""
    if asked.kv_cache_dtype not in CACHE_TYPES:
        raise UsageError(
            f"--kv-cache-dtype {asked.kv_cache_dtype!r} is not mlx-lm's",
            f"known are {', '.join(CACHE_TYPES)}",
            "kv_cache_dtype",
        )
    rules, length = RELEASES.at(asked.engine_version), asked.max_model_len or default_length(model)
    step = rules.prefill_step_size if rules.steps_prompts else length
    found = Resolved.of(
        asked,
        engine_version=rules.text,
        layout=layout,
        max_model_len=length,
        max_num_seqs=asked.max_num_seqs or (SEQUENCES if rules.batches else 1),
        max_num_batched_tokens=asked.max_num_batched_tokens or step,
    )._replace(dtype=resolve_dtype(model, asked.dtype, hardware))
    wanted = asked.quantization or model.quantization
    if wanted not in (AS_STORED if wanted == model.quantization else ()) and not form_of(wanted):
        raise UnsupportedError(
            f"--quantization {wanted} in mlx-lm is not known",
            "write 4bit, 5bit-g32, mxfp4-q8",
            "quantization",
        )
    for attention in model.kinds.attentions:
        row_bytes(attention, model.family, found)  # refuses kinds that are not known
    return found


def stages(model: Model, asked: Resolved) -> list[Stage]:
    """Return the one machine with all layers."""
    return deal(model, 1, "first stages")


def placed_weights(model: Model, asked: Resolved, hardware: Hardware, stage: Stage) -> list[Placed]:
    """Return every tensor of the language model; towers and layers that draft are not loaded (sanitize of the
    models).

    >>> from ..model.load import load
    >>> from ..run.hardware import parse_gpu
    >>> asked = Resolved(engine="mlx", dtype="bfloat16", quantization="4bit")
    >>> model, mac = load("deepseek-r1"), parse_gpu("m3-ultra-512gb")
    >>> sum(each.total_bytes for each in placed_weights(model, asked, mac, Stage(0, 1, 0, 61)))
    377606822912
    """
    placed = []
    for tensor in model.tensors:
        if tensor.part in ("main", "engram") and not tensor.copy_of:
            stacked = tensor.repeat if tensor.role == "expert" else 1
            size = runtime_format(tensor, model, asked).num_bytes(tensor.shape) * stacked
            each = tensor.repeat // stacked
            placed.append(Placed(key_of(tensor.name), tensor.name, size, each, tensor.layers))
    return placed + unexplained(model, "card")


def runtime_format(tensor: Tensor, model: Model, asked: Resolved) -> Format:
    """Return the type that a tensor has in memory; FP8 becomes 16 bit (sanitize of the models)."""
    if asked.quantization not in (None, model.quantization):
        return form_of(str(asked.quantization), tensor) or DTYPES[asked.dtype]
    if tensor.format == model.dtype:
        return DTYPES[asked.dtype]
    return BF16 if model.quantization == "fp8" else tensor.format


def row_bytes(attention: Attention, family: str, asked: Resolved) -> float:
    """Return the growth of one layer's cache a token; in fewer bits there are 16 of a scale and of a bias for
    64 values (QuantizedKVCache).

    >>> v3, asked = MLA(128, 1536, 512, 128, 64, 128), Resolved(engine="mlx", dtype="bfloat16")
    >>> [row_bytes(v3, "deepseek_v3", asked._replace(engine_version=text)) for text in ("0.30.5", "0.30.6")]
    [81920.0, 1152.0]
    """
    rules, width, word = RELEASES.at(asked.engine_version), DTYPES[asked.dtype].bits / 8, asked.kv_cache_dtype
    if word != "auto":
        width = (int(word.removeprefix("int")) + 0.5) / 8
        if not isinstance(attention, GQA | Linear):
            raise UnsupportedError(f"--kv-bits on {attention.kind} attention is not known", "leave it out")
    match attention:
        case GQA():
            return attention.num_kv_heads * attention.cache_dim * width
        case Sliding():
            return row_bytes(attention.inner, family, asked)
        case MLA() if family in rules.caches_latents:
            return attention.latent_dim * width
        case MLA():
            keys = attention.qk_nope_head_dim + attention.qk_rope_head_dim
            return attention.num_heads * (keys + attention.v_head_dim) * width
        case DSA() if rules.has_sparse_models:
            index = attention.index_head_dim if attention.owns_indexer else 0
            return row_bytes(attention.mla, family, asked) + index * width
        case Linear() if attention.variant in STATES:
            return 0.0
    raise UnsupportedError(f"{attention.kind} attention in mlx-lm is not known yet", "use --engine llamacpp")


def step_tokens(asked: Resolved) -> int:
    """Return the tokens of a sequence that one step of a prompt has."""
    return min(asked.max_num_batched_tokens or 1, asked.context or 1)


def cache_layout(model: Model, asked: Resolved, stage: Stage) -> CacheLayout:
    """Return rows a token in each layer; windows, which hold one step more; states of linear attention."""
    width, full, fixed, windows = DTYPES[asked.dtype].bits // 8, 0.0, 0, dict[int, float]()
    kinds = [layer.attention for layer in model.layers]
    for attention in kinds:
        row = row_bytes(attention, model.family, asked)
        if isinstance(attention, Sliding):
            windows[attention.window] = windows.get(attention.window, 0.0) + row
        elif isinstance(attention, Linear):
            fixed += recurrent_state_bytes(attention, 1, width, 4)
        else:
            full += row
    more, grows = step_tokens(asked) - 1, sum(not isinstance(each, Sliding | Linear) for each in kinds)
    groups = [CacheGroup("all tokens", len(kinds), 1, int(full))]
    groups += [CacheGroup("windows", len(kinds), 1, int(row), size + more) for size, row in windows.items()]
    fixed += sum(group.window * group.page_bytes for group in groups)
    block = max(int(full), 1)
    return CacheLayout(
        tuple(groups), block, full, fixed, block, rows_in_layers(full, grows), asked.kv_cache_dtype
    )


def budget_lines(model: Model, asked: Resolved, hardware: Hardware, stage: Stage) -> Budget:
    """Return a step's arrays, the layers whose cache grows, a step's scores, what the server keeps."""
    rules, width = RELEASES.at(asked.engine_version), DTYPES[asked.dtype].bits // 8
    length = asked.context or 1
    rows = min(asked.concurrency, PROMPTS_AT_ONCE) if rules.batches else 1
    kinds, tokens, num = model.kinds.attentions, step_tokens(asked) * rows, len(model.layers)
    grown = int(max(row_bytes(each, model.family, asked) for each in kinds) * length * rows)
    pairs = max(scores_of(each, model.family, tokens, length, asked) for each in kinds)
    kept = asked.prompt_cache_size if rules.keeps_prompts else 0
    prompt = one(cache_layout(model, asked, stage), length) if kept else 0
    layer, row = tokens * width * widest(model), facts.constant("mlx", "in_flight", rules.release)
    flying = [min(int(size * GIB), layer * num) for size in (row.value, row.low, row.high)]
    found = (
        _line(
            "activations.profile_run",
            "arrays of one step of a prompt",
            (layer + flying[0], layer // 2 + flying[1], 2 * layer + flying[2]),
            row.source,
        ),
        _line(
            "temporaries.cache_growth",
            "caches of layers that grow: old beside new",
            (grown, grown, min(ACTIVE_TASKS, num) * grown),
            "mlx_lm/models/cache.py, KVCache",
        ),
        _line(
            "temporaries.running",
            "scores of a step of a prompt",
            (pairs[1] * width, pairs[0] * width, pairs[2] * width),
            "mlx/fast.cpp",
        ),
        _line(
            "kv_cache.copies",
            "caches of earlier prompts that the server keeps",
            (prompt, 0, kept * prompt),
            "mlx_lm/server.py, LRUPromptCache",
        ),
    )
    return Budget(tuple(line for line in found if line.high_bytes), ())


def _line(key: Key, what: str, sizes: tuple[int, int, int], source: str) -> Line:
    return ranged(key, "engine", what, sizes, "assumed", f"{sizes[1]:,} to {sizes[2]:,} B", source)


def widest(model: Model) -> int:
    """Return the elements a token of the layer that makes most: experts' rows are sorted, multiplied and put
    back (switch_layers.py).

    >>> from ..model.load import load
    >>> widest(load("qwen3-4b-2507")), widest(load("qwen3-30b-a3b-2507"))
    (34304, 88064)
    """
    hidden = model.hidden_size
    sizes = [
        ffn.num_active_experts * (4 * hidden + 3 * ffn.expert_width) + 3 * ffn.shared_width
        if isinstance(ffn, MoE)
        else 3 * ffn.intermediate_size
        for ffn in model.kinds.ffns
    ]
    sizes += [
        2 * (each.conv_width + each.value_width) if isinstance(each, Linear) else attention_width(each)
        for each in model.kinds.attentions
    ]
    return max(sizes) + 2 * hidden


def scores_of(
    attention: Attention, family: str, tokens: int, length: int, asked: Resolved
) -> tuple[int, int, int]:
    """Return (least, likely, most) elements of scores of a step's tokens with all that came before.

    Where no kernel fuses them they are masked and divided in place (fast.cpp, fallback). Latents that are
    cached are multiplied for keys and values of all heads, with the scores of their rotated part as a mask,
    which stays beside the next one's (deepseek_v3.py: 383.2, 388.3, 398.6 GB at 4, 8 and 16 thousand tokens,
    mlx-lm#839); an indexer's come on top (deepseek_v32.py).

    >>> v3 = MLA(128, 1536, 512, 128, 64, 128)
    >>> asked = Resolved(engine="mlx", engine_version="0.31.3", dtype="bfloat16")
    >>> [each // 16384 for each in scores_of(v3, "deepseek_v3", 2048, 16384, asked)]
    [294912, 589824, 884736]
    """
    rules = RELEASES.at(asked.engine_version)
    match attention:
        case GQA():
            narrow = attention.head_dim in (FUSED if rules.fuses_attention else FUSED_ONCE)
            pairs = attention.num_heads * tokens * length * (not narrow or asked.kv_cache_dtype != "auto")
            return pairs * rules.fuses_attention, pairs, 2 * pairs
        case Sliding():
            seen = min(length, attention.window + step_tokens(asked))
            return scores_of(attention.inner, family, tokens, seen, asked)
        case MLA():
            pairs = attention.num_heads * tokens * length
            if family not in rules.caches_latents:
                return pairs, pairs, 2 * pairs
            pairs += attention.num_heads * length * (attention.qk_nope_head_dim + attention.v_head_dim)
            return pairs, 2 * pairs, 3 * pairs
        case DSA():
            least, likely, most = scores_of(attention.mla, family, tokens, length, asked)
            index = attention.index_heads * tokens * length
            return least, likely + index, most + 2 * index
    return 0, 0, 0


BENCHMARK = re.compile(r"mlx_lm[. ]benchmark\s[^\n;&|]*")
LENGTHS = (("-p|--prompt-tokens", 512), ("-g|--generation-tokens", 1024), ("-b|--batch-size", 1))
"""Flags of mlx_lm.benchmark, and what is meant without them (benchmark.py)."""
DEFAULT = "mlx-community/Llama-3.2-3B-Instruct-4bit"
"""What is loaded where no model is named (generate.py)."""


def in_its_words(text: str) -> str:
    """Return a command of mlx_lm.benchmark with one word for its load: tokens of a sequence, and sequences.

    >>> in_its_words("mlx_lm.benchmark --model m -p 2048 -g 128")
    'mlx_lm.benchmark --model m --benchmark 2176x1'
    """

    def whole(found: "re.Match[str]") -> str:
        words, numbers = found[0], []
        for flags, usual in LENGTHS:
            said = re.search(rf"\s(?:{flags})[ =](\d+)", words)
            numbers.append(int(said[1]) if said else usual)
            words = words.replace(said[0], "") if said else words
        return f"{words} --benchmark {numbers[0] + numbers[1]}x{numbers[2]}"

    return BENCHMARK.sub(whole, text)


def in_our_words(said: CommandWords) -> CommandWords:
    """Return a command of mlx-lm in our words: what is no server keeps no prompts."""
    flags: dict[str, Any] = dict(said.flags)
    if not any(re.search(r"(^|[./])server$", word) for word in said.before):
        flags["prompt_cache_size"] = 0
    if "kv_cache_dtype" in flags:
        flags["kv_cache_dtype"] = f"int{flags['kv_cache_dtype']}"
    if load := flags.pop("mlx_benchmark", ""):
        flags["context"], flags["concurrency"] = map(int, load.split("x"))
    return said._replace(flags=flags, model=said.model or DEFAULT)


def as_started(wanted: dict[str, Any], asked: Asked) -> tuple[list[str], dict[str, Any]]:
    """Return (words, what is left to say) of a question: mlx_lm.server has no flag of a length, and packs no
    cache."""
    if asked.kv_cache_dtype != "auto":
        raise UnsupportedError("mlx_lm.server has no --kv-bits", "leave it out", "kv_cache_dtype")
    return [], {field: value for field, value in wanted.items() if field not in ("max_model_len", "tp")}


MLX = Engine(
    name="mlx",
    label="mlx-lm",
    versions=RELEASES.versions,
    cards=CardMakers(only=("Apple",)),
    candidates=Candidates(one_card, shares_card=True, ranked_last=True),
    start=Start(package="mlx-lm=={version}", port=8080),
    rows=EngineRows(words=("mlx-lm", "mlx_lm", "MLX")),
    speed_class="mlx",
    layouts=lambda hardware, asked: [asked],
    resolve=resolve,
    stages=stages,
    placed_weights=placed_weights,
    budget_lines=budget_lines,
    cache_layout=cache_layout,
    needed_bytes=needed_bytes,
    max_tokens=max_tokens,
    sequences=sequences,
    longest_sequence=longest_sequence,
    counts="plain",
    cache_types=CACHE_TYPES,
)
