"""What a measured serving row leaves unsaid, and the other questions that it may mean."""

from ..engines import engine
from .serving_rows import BATCH_COUNTS, LORA_RANK, MEMORY_COUNTS, ServingQuestion, cards_of_size


def unsaid(row: dict[str, str], found: ServingQuestion, quantity: str) -> list[ServingQuestion]:
    """Other questions that the row may mean. An empty cell for the batch means that the source does not say
    it: few sequences with large batches (desktop cards) and twice the default batch (servers) bound what is
    usual. A size is any card of that size."""
    asked, others = found.asked, []
    rows = engine(asked.engine).rows
    if (
        not row["batch_or_parallel"].strip()
        and rows.default_batch_counts
        and not rows.batch_follows_length(asked.engine_version or "0")
        and quantity in {*BATCH_COUNTS, "cuda_graph"}
    ):
        few = asked._replace(max_num_seqs=FEW_SEQUENCES, max_num_batched_tokens=8192)
        others = [found._replace(asked=each) for each in (few, asked._replace(max_num_batched_tokens=16384))]
    if asked.images_per_prompt == 0 and "video" not in row["other_flags"]:
        others.append(found._replace(asked=asked._replace(language_model_only=True)))  # no videos either
    ranks, node = asked.layout.num_ranks if asked.layout else 1, found.hardware.per_node
    if (
        ranks > node and "node" not in row["other_flags"]
    ):  # one large machine, or several: the row does not say
        others.append(found._replace(hardware=found.hardware._replace(per_node=ranks)))
    if (
        asked.moe_a2a_backend == "deepep"
        and "redundant" not in row["other_flags"]
        and quantity in {*MEMORY_COUNTS, "weights_per_gpu"}
    ):
        whole = asked._replace(num_redundant_experts=EPLB_COPIES, enable_dp_lm_head=True, moe_dense_tp_size=1)
        others.append(found._replace(asked=whole))
    if (
        asked.enable_lora
        and not LORA_RANK.search(row["other_flags"].lower())
        and quantity in {*MEMORY_COUNTS, "weights_per_gpu"}
    ):
        others.append(found._replace(asked=asked._replace(max_lora_rank=LARGE_RANK)))
    flag = engine(asked.engine).share_flag
    if quantity in MEMORY_COUNTS and flag and not row["gpu_mem_util"].strip():
        field = flag.removeprefix("--").replace("-", "_")
        others += [found._replace(asked=asked.with_values({field: share})) for share in USUAL_SHARES]
    if quantity in MEMORY_COUNTS and (alike := cards_of_size(row["gpu"])):
        least = min(alike, key=lambda each: each.memory_bytes)
        others.append(found._replace(hardware=found.hardware._replace(card=least)))
    return others


USUAL_SHARES = (0.8, 0.95)
"""Between them lie most shares of the card that commands of the tables give; a row that says none is
predicted with the engine's own."""
LARGE_RANK = 64
"""Rank of LoRA slots that notebooks raise the default of 16 to."""
FEW_SEQUENCES = 4
EPLB_COPIES = 32
"""Redundant experts of DeepSeek's own deployment, whose heads and dense layers are whole on each rank."""
